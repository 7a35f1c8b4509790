"""Directories that the real tools wrote, each once for all workers and in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

from kddoctor import cli
from tests.cli.running import Command

#: What each script below tools/ imports.
LIBRARIES = {
    "huggingface": ("transformers", "accelerate", "tensorboard"),
    "lightning": ("lightning", "tensorboard"),
    "mlflow": ("mlflow", "sqlalchemy"),
    "wandb": ("wandb",),
    "torchdistill": ("torchdistill",),
    "mdistiller": ("tensorboard",),
}


class Written:
    """Runs a tool when its directory is first asked for, by whichever worker. read only."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, tool: str) -> Path:
        missing = [library for library in LIBRARIES[tool] if find_spec(library) is None]
        if missing:
            pytest.skip(f"needs {' and '.join(missing)}")
        folder = self.root / tool
        with FileLock(self.root / f"{tool}.lock"):
            if not folder.with_suffix(".done").exists():
                self._run(tool, folder)
        return folder

    def _run(self, tool: str, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
        folder.mkdir()
        environment = os.environ | {
            "PYTHONPATH": str(Path(cli.__file__).parents[2]),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", f"tests.importers.tools.{tool}", str(folder)],
            capture_output=True,
            check=False,
            env=environment,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        folder.with_suffix(".done").touch()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """``written("lightning")``: the directory in which that tool just worked."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    (shared / "tools").mkdir(exist_ok=True)
    return Written(shared / "tools")


@pytest.fixture
def kddoctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """``kddoctor("import", source, run_dir)``: code, out and err."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Command(capsys, monkeypatch)
