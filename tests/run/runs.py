"""Small runs to read, and small distillations to record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from kddoctor.run import write_run

N, C, K, B = 20, 4, 3, 5
MANIFEST: dict[str, Any] = {"task": "multiclass", "num_classes": C}


def predictions(**changes: Any) -> dict[str, Any]:
    """Arrays of a good predictions file; a change to None leaves the array out."""
    rng = np.random.default_rng(0)
    arrays = {
        "labels": rng.integers(0, C, N),
        "teacher_logits": rng.normal(size=(N, C)).astype(np.float32),
        "student_logits": rng.normal(size=(N, C)).astype(np.float32),
        **changes,
    }
    return {name: value for name, value in arrays.items() if value is not None}


def steps(**changes: Any) -> dict[str, Any]:
    """Arrays of a good steps file; a change to None leaves the array out."""
    rng = np.random.default_rng(1)
    arrays = {
        "student_logits": rng.normal(size=(K, B, C)).astype(np.float32),
        "teacher_logits": rng.normal(size=(K, B, C)).astype(np.float32),
        "labels": rng.integers(0, C, (K, B)),
        "loss": np.array([1.5, 1.2, np.nan]),
        "step": np.array([0, 10, 20]),
        **changes,
    }
    return {name: value for name, value in arrays.items() if value is not None}


def full_run(path: Path, **changes: Any) -> Path:
    """A run with every file; keyword arguments replace those of write_run."""
    rng = np.random.default_rng(2)
    parts: dict[str, Any] = {
        "predictions": {"val": predictions(), "train": predictions()},
        "steps": steps(),
        "metrics": [{"step": 0, "loss": 1.5}, {"step": 1, "loss": float("inf"), "split": "val"}],
        "observations": {"teacher_training": False, "teacher_drift": 0.0},
        "features": {"val": {"teacher/a": rng.normal(size=(8, 3)), "student/b": rng.normal(size=(8, 2, 2))}},
        "inputs": {"val": {"inputs": rng.normal(size=(8, 6))}},
        "fingerprints": {"val": np.arange(N)},
        "checkpoints": {"teacher": {"w": np.ones((2, 2))}},
        **changes,
    }
    return write_run(path, parts.pop("manifest", MANIFEST), **parts)


def bare_run(path: Path, manifest: str, arrays: dict[str, Any], split: str = "val") -> Path:
    """A run of just the two required files, written without kddoctor's own writer."""
    (path / "predictions").mkdir(parents=True)
    (path / "kd_run.yaml").write_text(manifest)
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path / f"predictions/{split}.safetensors")
    return path
