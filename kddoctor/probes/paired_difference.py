"""The difference of two models on the same rows."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class PairedDifference:
    """change: mean of after − before. low, high: its interval at ``level``. p_value: of no change, two-sided."""

    change: float
    low: float
    high: float
    p_value: float
    rows: int
    level: float


def paired_difference(before: ArrayLike, after: ArrayLike, *, level: float = 0.95) -> PairedDifference:
    """Compare one number a row, [n] before with [n] after; n at least 1.

    Right or wrong (0 and 1): the exact McNemar test, and Bonett and Price's interval of 2012, which adds a row to each
    way of changing, so that it is never empty. Other numbers: Student's t of the differences. Raises
    ValueError for no rows, or for unequal numbers of them.
    """
    old, new = np.asarray(before, float), np.asarray(after, float)
    if old.shape != new.shape or old.ndim != 1 or not len(old):
        raise ValueError(f"before is {list(old.shape)} and after {list(new.shape)}; expected [n] of the same rows")
    if np.isin(old, (0, 1)).all() and np.isin(new, (0, 1)).all():
        return _of_answers(old, new, level)
    return _of_numbers(new - old, level)


def _of_answers(old: np.ndarray, new: np.ndarray, level: float) -> PairedDifference:
    fixed, broken, rows = int((new > old).sum()), int((new < old).sum()), len(old)
    p, q, n = (fixed + 1) / (rows + 2), (broken + 1) / (rows + 2), rows + 2
    half = float(stats.norm.ppf(0.5 + level / 2)) * math.sqrt((p + q - (p - q) ** 2) / n)
    p_value = float(stats.binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0
    return PairedDifference(
        (fixed - broken) / rows, max(-1.0, p - q - half), min(1.0, p - q + half), p_value, rows, level
    )


def _of_numbers(change: np.ndarray, level: float) -> PairedDifference:
    mean, rows = float(change.mean()), len(change)
    error = float(change.std(ddof=1) / math.sqrt(rows)) if rows > 1 else math.inf
    if not error:  # every row changed by the same
        return PairedDifference(mean, mean, mean, 0.0 if mean else 1.0, rows, level)
    half = float(stats.t.ppf(0.5 + level / 2, max(1, rows - 1))) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, max(1, rows - 1)))
    return PairedDifference(mean, mean - half, mean + half, p_value, rows, level)
