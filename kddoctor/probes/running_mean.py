"""Streaming mean and its standard error, merged without cancellation."""

import math

import numpy as np
from numpy.typing import NDArray


class RunningMean:
    """Count, mean, largest value and squared deviations of a stream (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.largest = -math.inf
        self._deviations = 0.0

    def update(self, values: NDArray[np.float64]) -> None:
        """Count the values, [n]; nothing happens for an empty array."""
        if len(values):
            mean = float(values.mean())
            self._add(len(values), mean, float(((values - mean) ** 2).sum()), float(values.max()))

    def merge(self, other: "RunningMean") -> None:
        """Add what another one counted."""
        if other.count:
            self._add(other.count, other.mean, other._deviations, other.largest)

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean; None for fewer than two values."""
        if self.count < 2:
            return None
        return math.sqrt(self._deviations / (self.count - 1) / self.count)

    def _add(self, count: int, mean: float, deviations: float, largest: float) -> None:
        total = self.count + count
        step = mean - self.mean
        self.mean += step * count / total
        self._deviations += deviations + step * step * self.count * count / total
        self.count = total
        self.largest = max(self.largest, largest)
