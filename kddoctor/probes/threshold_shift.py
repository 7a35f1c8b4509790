"""Whether yes-or-no scores mean what they say, on average."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Logits between which the shift is searched, and halvings of that interval.
FARTHEST, HALVINGS = 30.0, 60


@dataclass(frozen=True)
class ThresholdShift:
    """Calibration in the large of one model's logits (Van Calster et al. 2019).

    n: rows. base_rate: share of yes. predicted: mean of the sigmoid. shift: what the logits would have to be lowered by
    for the mean of the sigmoid to be the base rate. accuracy: at threshold 0; shifted_accuracy: at threshold ``shift``.
    gained, lost: rows that only the second, and only the first threshold gets right. error: standard error of
    ``predicted − base_rate`` if every yes were drawn with its stated probability, shifted ones included.
    """

    n: int
    base_rate: float
    predicted: float
    shift: float
    accuracy: float
    shifted_accuracy: float
    gained: int
    lost: int
    error: float


def threshold_shift(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> ThresholdShift | None:
    """Of logits [n] and labels [n], 0 or 1. None where all labels are equal."""
    z, y = logits.astype(np.float64), labels.astype(bool)
    rate = float(y.mean()) if len(y) else 0.0
    if not 0 < rate < 1:
        return None
    shift = shift_to(z, rate)
    at_zero, shifted = (z > 0) == y, (z > shift) == y
    p = sigmoid(z - shift)
    return ThresholdShift(
        n=len(y),
        base_rate=rate,
        predicted=float(sigmoid(z).mean()),
        shift=shift,
        accuracy=float(at_zero.mean()),
        shifted_accuracy=float(shifted.mean()),
        gained=int((shifted & ~at_zero).sum()),
        lost=int((at_zero & ~shifted).sum()),
        error=math.sqrt(float((p * (1 - p)).sum())) / len(y),
    )


def shift_to(logits: NDArray[np.float64], rate: float) -> float:
    """What to subtract for the mean of the sigmoid to be ``rate``: it falls steadily in that, so by halving."""
    low, high = -FARTHEST - float(np.abs(logits).max()), FARTHEST + float(np.abs(logits).max())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(sigmoid(logits - middle).mean()) > rate else (low, middle)
    return (low + high) / 2


def sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(−z)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -z)))
