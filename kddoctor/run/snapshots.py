"""snapshots/<split>.safetensors: what the student said about the same rows at several moments of its training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.errors import RunError
from kddoctor.run.arrays import ArrayFile, LazyArray
from kddoctor.run.layout import brackets

LOGITS, STEP, EPOCH = "student_logits", "step", "epoch"
LAYERS = "student/"


@dataclass(frozen=True)
class Snapshots:
    """E moments, the first n rows of a split. step: [E], ascending. epoch: [E], None where it was not told.

    student_logits: [E, n, …] as in predictions. student: [E, n, …] activations by layer. Either may be absent.
    """

    file: str
    n: int
    step: NDArray[np.int64]
    epoch: NDArray[np.int64] | None
    student_logits: LazyArray | None
    student: dict[str, LazyArray]

    def __len__(self) -> int:
        return len(self.step)


def read_snapshots(file: ArrayFile) -> Snapshots:
    """Raises RunError where the moments are missing, or arrays differ in moments or rows."""
    step = file[STEP]
    if step.is_float or step.ndim != 1 or not len(step):
        raise RunError(file.label, STEP, f"{brackets(step.shape)} of dtype {step.dtype}", "[E] integers")
    epoch = file.get(EPOCH)
    if epoch is not None and (epoch.is_float or epoch.shape != step.shape):
        raise RunError(file.label, EPOCH, f"{brackets(epoch.shape)} of dtype {epoch.dtype}", f"[{len(step)}] integers")
    arrays = {name: file[name] for name in file if name == LOGITS or name.startswith(LAYERS)}
    rows = {array.shape[1] for array in arrays.values() if array.ndim > 1}
    for name, array in arrays.items():
        if array.ndim < 2 or len(array) != len(step) or len(rows) != 1 or 0 in rows or not array.is_float:
            raise RunError(
                file.label, name, brackets(array.shape), f"[{len(step)}, n, …] floats, n rows in every array"
            )
    steps = step.read().astype(np.int64)
    if (np.diff(steps) < 0).any():
        raise RunError(file.label, STEP, "not in order", "ascending steps")
    return Snapshots(
        file=file.label,
        n=next(iter(rows), 0),
        step=steps,
        epoch=None if epoch is None else epoch.read().astype(np.int64),
        student_logits=arrays.get(LOGITS),
        student={name.removeprefix(LAYERS): array for name, array in arrays.items() if name != LOGITS},
    )
