"""The tests of the Keras recorder hold on every backend that is installed; each is chosen for a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("keras", reason="keras is not installed: pip install kddoctor[integrations]")

pytestmark = pytest.mark.integrations
HERE = Path(__file__).parent


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_backend_records_what_torch_records(backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(HERE / "test_keras.py")],
        check=False,
        cwd=HERE.parents[1],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
