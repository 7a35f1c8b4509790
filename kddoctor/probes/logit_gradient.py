"""How much of the loss's gradient in the student's logits arrives at its parameters.

A last layer adds a bias to its logits, whose gradient is the sum over the batch of the logits' own: no gradient of all
parameters together is shorter than that, unless the logits are multiplied by something small on their way to the loss.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class LogitGradient:
    """arrives: median over ``steps`` of the norm of the loss's gradient in the student's parameters, over that of its
    gradient in the logits, summed over the rows of a step. Without a bias in the last layer it has no bound.
    """

    arrives: float
    steps: int


class LogitGradientProbe:
    """Accumulates steps of the declared divergence. alpha: weight of the teacher's term. squared: it carries T²."""

    def __init__(self, temperature: float, alpha: float, *, squared: bool) -> None:
        self.temperature, self.alpha = temperature, alpha
        # The divergence of logits over T has 1 / T of its gradient in the logits themselves.
        self.soft = alpha * (temperature if squared else 1 / temperature)
        self._ratios: list[float] = []

    def update(self, student: Floats, teacher: Floats, labels: NDArray[np.int64], norm: float) -> None:
        """One step: logits [n, C], labels [n], and the norm of the gradient in all parameters."""
        s, t = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
        hard = softmax(s, axis=1)
        hard[np.arange(len(labels)), labels] -= 1
        soft = softmax(s / self.temperature, axis=1) - softmax(t / self.temperature, axis=1)
        length = float(np.linalg.norm((self.soft * soft + (1 - self.alpha) * hard).mean(axis=0)))
        if np.isfinite(norm) and length > 0:
            self._ratios.append(norm / length)

    def merge(self, other: "LogitGradientProbe") -> None:
        """Add another worker's steps."""
        self._ratios += other._ratios

    def compute(self) -> LogitGradient | None:
        """None without a step."""
        return LogitGradient(float(np.median(self._ratios)), len(self._ratios)) if self._ratios else None
