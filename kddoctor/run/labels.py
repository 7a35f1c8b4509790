"""Are the labels ones that the task can have?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kddoctor.errors import RunError
from kddoctor.run.arrays import Array, LazyArray

IGNORED = -100  # PyTorch's ignore_index: a position that no loss counts
EXACT = 2.0**53  # beyond it a float does not say which whole number it stands for; rules out infinity too


def checked_labels(labels: LazyArray, task: str, num_classes: int | None) -> LazyArray:
    """The labels, as int64 (multilabel: as stored). Reads all of them, in chunks.

    Raises RunError, naming the first row at fault, where a label is not a class: a whole number from 0 to
    num_classes - 1, or -100 in tokens runs; 0 or 1 in binary runs; a grade of 0 or more in ranking runs;
    a number from 0 to 1 in multilabel runs.
    """
    if task == "multilabel":
        _check(labels, lambda v: (v >= 0) & (v <= 1), "0 or 1 (or a probability between them)")
        return labels
    if labels.dtype != "I64":
        _check(labels, lambda v: (v == np.floor(v)) & (np.abs(v) < EXACT), "a whole number")
        labels = replace(labels, integers=True)
    if task == "ranking":
        _check(labels, lambda v: v >= 0, "a relevance of 0 or more")
        return labels
    classes = num_classes if task != "binary" and num_classes else 2
    expected = f"a class from 0 to {classes - 1}" + (f", or {IGNORED} to ignore" if task == "tokens" else "")
    _check(labels, lambda v: _is_class(v, classes, task), expected)
    return labels


def _is_class(values: Array, classes: int, task: str) -> Array:
    valid = (values >= 0) & (values < classes)
    return np.asarray(valid | (values == IGNORED) if task == "tokens" else valid)


def _check(labels: LazyArray, is_valid: Callable[[Array], Array], expected: str) -> None:
    start = 0
    for chunk in labels.chunks():
        values = chunk.astype(np.int64) if chunk.dtype == np.bool_ else chunk
        bad = np.argwhere(~np.asarray(is_valid(values)))
        if len(bad):
            at = ", ".join(map(str, (start + bad[0][0], *bad[0][1:])))
            raise RunError(labels.file.label, f"labels[{at}]", str(values[tuple(bad[0])]), expected)
        start += len(chunk)
