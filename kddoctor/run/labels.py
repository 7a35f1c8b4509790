"""Are the labels ones that the task can have?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kddoctor.errors import RunError
from kddoctor.run.arrays import Array, LazyArray

IGNORED = -100  # PyTorch's ignore_index: a position that no loss counts
EXACT = 2.0**53  # beyond it a float does not say which whole number it stands for; rules out infinity too


def checked_labels(labels: LazyArray, task: str, num_classes: int | None, *, unlabelled: bool = False) -> LazyArray:
    """The labels, as int64 (multilabel: as stored). Reads all of them, in chunks.

    unlabelled: whether rows of classes may have no label, which is -100 then. Raises RunError, naming the first row at
    fault, where a label is not a class: a whole number from 0 to num_classes - 1, or -100 in tokens runs; 0 or 1 in
    binary runs; a grade of 0 or more in ranking runs; a number from 0 to 1 in multilabel runs.
    """
    if task != "multilabel" and labels.dtype != "I64":
        _check(labels, lambda v: (v == np.floor(v)) & (np.abs(v) < EXACT), "a whole number")
        labels = replace(labels, integers=True)
    _check(labels, *allowed_labels(task, num_classes, unlabelled=unlabelled))
    return labels


def allowed_labels(
    task: str, num_classes: int | None, *, unlabelled: bool = False
) -> tuple[Callable[[Array], Array], str]:
    """(which of these values can be labels, what a label can be, for people)."""
    if task == "multilabel":
        return lambda v: np.asarray((v >= 0) & (v <= 1)), "0 or 1 (or a probability between them)"
    if task == "ranking":
        return lambda v: np.asarray(v >= 0), "a relevance of 0 or more"
    classes = num_classes if task != "binary" and num_classes else 2
    if task == "tokens" or unlabelled:
        expected = f"a class from 0 to {classes - 1}, or {IGNORED} to ignore"
        return lambda v: np.asarray(((v >= 0) & (v < classes)) | (v == IGNORED)), expected
    return lambda v: np.asarray((v >= 0) & (v < classes)), f"a class from 0 to {classes - 1}"


def _check(labels: LazyArray, is_valid: Callable[[Array], Array], expected: str) -> None:
    start = 0
    for chunk in labels.chunks():
        values = chunk.astype(np.int64) if chunk.dtype == np.bool_ else chunk
        bad = np.argwhere(~np.asarray(is_valid(values)))
        if len(bad):
            at = ", ".join(map(str, (start + bad[0][0], *bad[0][1:])))
            raise RunError(labels.file.label, f"labels[{at}]", str(values[tuple(bad[0])]), expected)
        start += len(chunk)
