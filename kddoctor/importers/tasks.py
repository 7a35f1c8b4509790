"""Which task arrays belong to, by their shapes, and arrays in the layout of that task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kddoctor.run.arrays import Array
from kddoctor.run.manifest import TASKS_WITH_CLASSES


def task_of(arrays: Mapping[str, Array]) -> str:
    """The task that the shapes of teacher_logits and labels belong to.

    [N] or [N, 1]: binary, with group_ids and grades ranking. [N, C] with labels [N] or one-hot labels: multiclass, with
    other labels [N, C] multilabel. [N, L, V]: tokens.
    """
    logits, labels = arrays["teacher_logits"], arrays["labels"]
    if logits.ndim >= 3:
        return "tokens"
    if logits.ndim == 1 or logits.shape[-1] == 1:
        graded = labels.size and np.asarray(labels).max() > 1
        return "ranking" if "group_ids" in arrays and graded else "binary"
    same = labels.shape == logits.shape
    return "multilabel" if same and not _one_hot(labels) else "multiclass"


def classes_of(task: str, arrays: Mapping[str, Array]) -> int | None:
    """Number of classes, None for tasks without."""
    return int(arrays["teacher_logits"].shape[-1]) if task in TASKS_WITH_CLASSES else None


def laid_out(task: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays as the run directory has them: logits in floating point, one-hot labels as classes, [N, 1] as [N].

    In yes-or-no tasks, of two columns of logits the second minus the first.
    """
    found = {}
    for name, array in arrays.items():
        values = np.asarray(array)
        if name.endswith(("_logits", "_targets")):
            if values.dtype.kind != "f":
                values = values.astype(np.float32)
            if task in ("binary", "ranking") and values.ndim == 2 and values.shape[1] == 2:
                values = values[:, 1] - values[:, 0]
        elif name == "labels" and task == "multiclass" and _one_hot(values):
            values = values.argmax(axis=-1)
        elif name == "labels" and task in ("multiclass", "binary", "ranking") and values.shape[1:] == (1,):
            values = values[:, 0]
        found[name] = values
    return found


def _one_hot(labels: Array) -> bool:
    if labels.ndim != 2 or labels.shape[1] < 2:
        return False
    values = np.asarray(labels)
    return bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())
