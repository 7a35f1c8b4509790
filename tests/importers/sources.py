"""Arrays and what became of a source, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kddoctor.importers import Given, Imported, import_run
from kddoctor.run import Run, load

N, C = 60, 4


def outputs(rows: int = N, classes: int = C, seed: int = 0) -> dict[str, np.ndarray]:
    """labels [N], teacher_logits and student_logits [N, C] of two models that know the task."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(rows) % classes)
    teacher = (5 * np.eye(classes)[labels] + rng.normal(size=(rows, classes))).astype(np.float32)
    return {"labels": labels, "teacher_logits": teacher, "student_logits": (0.8 * teacher).astype(np.float32)}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def brought_in(source: Path | None, run_dir: Path, **given: Any) -> tuple[Run, Imported]:
    """The run that a source becomes, and what its import said."""
    imported = import_run(source, run_dir, Given(**given))
    return load(run_dir), imported


def curve(run: Run, key: str, split: str = "train") -> list[Any]:
    """The values of one metric, in order."""
    return [row[key] for row in run.metrics if row["split"] == split and key in row]
