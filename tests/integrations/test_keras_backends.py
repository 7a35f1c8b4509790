"""The tests of the Keras recorder, and its page, hold on every backend that is installed.

Each backend is chosen for a whole process. ``make test-keras-backends`` installs them.
"""

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
#: Seconds. JAX compiles for two to three minutes on a core of its own.
HANGS = 3600
TESTS = [str(HERE / "test_keras.py"), f"{HERE.parent / 'docs' / 'test_recording_howtos.py'}::test_keras"]


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_backend_records_what_torch_records(backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS],
        check=False,
        cwd=HERE.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout
