"""Streaming quantiles of numbers in [0, 1]: a fine fixed histogram that also keeps the sum in each bin."""

import numpy as np
from numpy.typing import NDArray

BINS = 2048


class UnitHistogram:
    """Counts and sums of values in [0, 1] in 2,048 equal bins, in constant memory.

    Values outside, by rounding, are put into the first or the last bin.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, dtype=np.int64)
        self._sums = np.zeros(BINS)

    def update(self, values: NDArray[np.float64]) -> None:
        """Count the values, [n]."""
        bins = np.clip((values * BINS).astype(np.int64), 0, BINS - 1)
        self._counts += np.bincount(bins, minlength=BINS)
        self._sums += np.bincount(bins, weights=values, minlength=BINS)

    def merge(self, other: "UnitHistogram") -> None:
        """Add what another histogram counted."""
        self._counts += other._counts
        self._sums += other._sums

    def mean(self) -> float:
        """Mean of all values, exact up to rounding."""
        return float(self._sums.sum() / self._counts.sum())

    def median(self) -> float:
        """Median, at most one bin (1/2,048) from the true one and exact where the bin holds one value only.

        The median is read as the mean of its bin; for an even count, as the mean of its two middle bins.
        """
        total = int(self._counts.sum())
        cumulative = np.cumsum(self._counts)
        middle = np.searchsorted(cumulative, [(total - 1) // 2, total // 2], side="right")
        return float((self._sums[middle] / self._counts[middle]).mean())

    def quantile(self, share: float) -> float:
        """The value that this share of all values does not exceed, at most one bin from the true one."""
        cumulative = np.cumsum(self._counts)
        at = int(np.searchsorted(cumulative, share * cumulative[-1], side="left"))
        return float(self._sums[at] / self._counts[at])
