"""Probabilities where logits are expected."""

from __future__ import annotations

import numpy as np

from kddoctor.run.arrays import Array

#: How far a row of float16 probabilities may be from a sum of one.
ROW_SUM = 5e-3
ROWS_LOOKED_AT = 4096


def looks_like_probabilities(values: Array) -> bool:
    """Whether the last axis of the first rows is from 0 to 1 and sums to one."""
    rows = np.asarray(values[:ROWS_LOOKED_AT], np.float64)
    if rows.ndim < 2 or rows.shape[-1] < 2 or not rows.size or not np.isfinite(rows).all():
        return False
    return bool(rows.min() >= 0 and rows.max() <= 1 and np.abs(rows.sum(axis=-1) - 1).max() < ROW_SUM)


def log_of(probabilities: Array) -> Array:
    """Logits whose softmax (of one column, or of none: sigmoid) these probabilities are, in float32.

    A zero becomes the logarithm of the smallest float32.
    """
    smallest = np.finfo(np.float32).tiny
    values = np.asarray(probabilities, np.float64)
    logs = np.log(np.clip(values, smallest, 1))
    if values.ndim < 2 or values.shape[-1] == 1:
        logs -= np.log(np.clip(1 - values, smallest, 1))
    return logs.astype(np.float32)
