"""Calibration error over bins of equally many rows, with its interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Standard errors of a two-sided 90 % interval.
SURE = 1.645


@dataclass(frozen=True)
class Calibration:
    """Bins of equally many rows, each [bins], in the order of confidence.

    ece: mean |confidence − accuracy| weighted by rows (Nixon et al. 2019, adaptive bins). standard_error: of ece, from
    the spread of (confidence − right) in each bin.
    """

    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    rows: NDArray[np.int64]
    ece: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """90 %, by normal approximation; never below zero."""
        half = SURE * self.standard_error
        return max(0.0, self.ece - half), self.ece + half


def calibration(confidence: Floats, right: NDArray[np.bool_], bins: int) -> Calibration:
    """confidence, right: [n], at least one row."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    rows = np.array([len(part) for part in parts])
    mean = np.array([confidence[part].mean() for part in parts])
    accuracy = np.array([right[part].mean() for part in parts])
    variance = np.array([np.var(confidence[part] - right[part]) / len(part) for part in parts])
    share = rows / rows.sum()
    return Calibration(
        confidence=mean,
        accuracy=accuracy,
        low=np.array([confidence[part[0]] for part in parts]),
        high=np.array([confidence[part[-1]] for part in parts]),
        rows=rows,
        ece=float(share @ np.abs(mean - accuracy)),
        standard_error=float(np.sqrt(share**2 @ variance)),
    )
