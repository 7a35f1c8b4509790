"""Attributions in a process of their own: the run's code never runs in the server, and ends after a minute."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from kddoctor.app.cache import cache_directory
from kddoctor.errors import KDDoctorError, UsageError, one_line
from kddoctor.run.directory import Run, load
from kddoctor.run.manifest import code_directory
from kddoctor.treatment.process import Process

#: Importing torch and the run's code takes some of it.
SECONDS = 60


@dataclass(frozen=True)
class Found:
    """What a finished computation left behind; as ``kddoctor.treatment.attribution.Attributions``."""

    inputs: NDArray[Any]
    teacher: NDArray[np.float64] | None
    student: NDArray[np.float64] | None
    target: int
    agreement: float | None
    overlap: float | None
    warnings: tuple[str, ...]


def attribution_file(run: Run, state: str, split: str, row: int, method: str) -> Path:
    """Where this one lies, for the run's files and code as they are now."""
    sources = []
    if run.manifest.code is not None:
        folder = code_directory(run.path, run.manifest.code)
        sources = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(folder.glob("*.py"))]
    key = json.dumps([str(run.path.resolve()), state, split, row, method, sources])
    return cache_directory() / "attributions" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


def find_attribution(file: Path) -> Found | None:
    """A computed one; None where there is none."""
    try:
        with safe_open(file, framework="np") as stored:
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            words = json.loads((stored.metadata() or {})["words"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return Found(
        arrays["inputs"],
        arrays.get("teacher"),
        arrays.get("student"),
        **{**words, "warnings": tuple(words["warnings"])},
    )


def compute_attribution(run: Path, split: str, row: int, method: str, file: Path) -> None:
    """Run the code of the run in a child process. Raises UsageError with its last line where it fails."""
    file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "kddoctor.app.attributing", str(run), split, str(row), method, str(file)]
    child = subprocess.Popen(
        command,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        _, said = child.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        Process.of(child.pid).stop(patience=1.0)
        child.communicate()
        raise UsageError(f"the attribution took longer than {SECONDS} s and was stopped") from None
    if child.returncode:
        lines = [line for line in said.splitlines() if line.strip()]
        raise UsageError(one_line(lines[-1]) if lines else f"the computation ended with code {child.returncode}")


def _main(run: str, split: str, row: str, method: str, file: str) -> None:
    from safetensors.numpy import save_file

    from kddoctor.treatment.attribution import METHODS, attribute

    found = attribute(load(run), split, int(row), next(known for known in METHODS if known == method))
    arrays = {"inputs": found.inputs, "teacher": found.teacher, "student": found.student}
    words = {key: value for key, value in vars(found).items() if key not in arrays}
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
    partial = Path(file).with_suffix(".partial")
    save_file(kept, partial, metadata={"words": json.dumps(words)})
    partial.replace(file)


if __name__ == "__main__":
    try:
        _main(*sys.argv[1:])
    except KDDoctorError as error:
        sys.exit(str(error))
