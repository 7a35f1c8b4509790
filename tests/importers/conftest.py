"""Directories that the real tools wrote, each once a session and in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from kddoctor import cli
from tests.cli.running import Command

#: What each script below tools/ imports.
LIBRARIES = {
    "huggingface": ("transformers", "accelerate", "tensorboard"),
    "lightning": ("lightning", "tensorboard"),
    "mlflow": ("mlflow", "sqlalchemy"),
    "wandb": ("wandb",),
    "torchdistill": ("torchdistill",),
    "mdistiller": ("yacs", "tensorboardX", "tensorboard"),
}


class Written:
    """Runs a tool when its directory is first asked for. read only."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, tool: str) -> Path:
        missing = [library for library in LIBRARIES[tool] if find_spec(library) is None]
        if missing:
            pytest.skip(f"needs {' and '.join(missing)}")
        folder = self.root / tool
        if not folder.exists():
            folder.mkdir()
            environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "PYTHONWARNINGS": "ignore"}
            done = subprocess.run(
                [sys.executable, "-m", f"tests.importers.tools.{tool}", str(folder)],
                capture_output=True,
                check=False,
                env=environment,
                text=True,
            )
            assert done.returncode == 0, done.stderr
        return folder


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """``written("lightning")``: the directory in which that tool just worked."""
    return Written(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def kddoctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """``kddoctor("import", source, run_dir)``: code, out and err."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Command(capsys, monkeypatch)
