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


def paired_answers(before: ArrayLike, after: ArrayLike, *, level: float = 0.95) -> PairedDifference:
    """Compare right and wrong (1 and 0) on the same rows, [n] before with [n] after; n at least 1.

    The exact McNemar test, and Bonett and Price's interval of 2012, which adds a row to each way of changing, so that
    it is never empty. Raises ValueError for no rows, or for unequal numbers of them.
    """
    old, new = _rows(before, after)
    fixed, broken, rows = int((new > old).sum()), int((new < old).sum()), len(old)
    middle = (fixed - broken) / (rows + 2)
    half = float(stats.norm.ppf(0.5 + level / 2)) * error_of_paired_difference(fixed, broken, rows)
    p_value = float(stats.binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return PairedDifference((fixed - broken) / rows, low, high, p_value, rows, level)


def error_of_paired_difference(fixed: int, broken: int, rows: int) -> float:
    """Standard error of a difference of two shares of the same rows, by Bonett and Price.

    fixed, broken: rows that only the second, and only the first, has.
    """
    p, q, n = (fixed + 1) / (rows + 2), (broken + 1) / (rows + 2), rows + 2
    return math.sqrt((p + q - (p - q) ** 2) / n)


def paired_numbers(before: ArrayLike, after: ArrayLike, *, level: float = 0.95) -> PairedDifference:
    """Compare any numbers, one a row or a seed, by Student's t of their differences; arguments as above."""
    old, new = _rows(before, after)
    change = new - old
    mean, rows = float(change.mean()), len(change)
    error = float(change.std(ddof=1) / math.sqrt(rows)) if rows > 1 else math.inf
    if not error:  # every row changed by the same
        return PairedDifference(mean, mean, mean, 0.0 if mean else 1.0, rows, level)
    half = float(stats.t.ppf(0.5 + level / 2, max(1, rows - 1))) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, max(1, rows - 1)))
    return PairedDifference(mean, mean - half, mean + half, p_value, rows, level)


def _rows(before: ArrayLike, after: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    old, new = np.asarray(before, float), np.asarray(after, float)
    if old.shape != new.shape or old.ndim != 1 or not len(old):
        raise ValueError(f"before is {list(old.shape)} and after {list(new.shape)}; expected [n] of the same rows")
    return old, new
