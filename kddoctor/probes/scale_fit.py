"""Would the student's own objective be lower if all its logits were larger, or smaller?

An objective that nothing but itself drives has no gradient along the scale of the logits once it is level: the best
factor is 1. A penalty on the weights, or noise that the training adds and the evaluation does not, leaves another one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

Family = Literal["kl", "reverse-kl", "mse"]

#: Factors that are tried, two octaves down and three up, four to the octave.
FACTORS = 2.0 ** (np.arange(-8, 13) / 4)


@dataclass(frozen=True)
class ScaleFit:
    """On training rows, in evaluation mode. factor: the one that makes the declared objective smallest.

    gain: share of the objective that it removes. objective: as it is, at factor 1. agreement: share of rows with the
    teacher's top class. kl: KL(teacher ‖ student) at the run's temperature, nats. teacher_loss: cross-entropy of the
    teacher with the labels; hard_loss: of the student. n: rows.
    """

    factor: float
    gain: float
    objective: float
    agreement: float
    kl: float
    teacher_loss: float
    hard_loss: float
    n: int


class ScaleFitProbe:
    """Sums the objective for every factor. alpha: weight of the teacher's term. squared: that term carries T²."""

    def __init__(self, family: Family, temperature: float, alpha: float, *, squared: bool) -> None:
        self.family, self.temperature, self.alpha, self.squared = family, temperature, alpha, squared
        self._sums = np.zeros(len(FACTORS))
        self._kl = self._agreement = self._teacher_loss = self._hard = 0.0
        self._n = 0

    def update(self, student: NDArray[np.floating], teacher: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """A chunk: logits [n, C], labels [n]."""
        s, t = student.astype(np.float64), teacher.astype(np.float64)
        rows = np.arange(len(labels))
        log_p = log_softmax(t / self.temperature, axis=1)
        for number, factor in enumerate(FACTORS):
            z = factor * s
            hard = -log_softmax(z, axis=1)[rows, labels]
            self._sums[number] += float((self.alpha * self._soft(z, t, log_p) + (1 - self.alpha) * hard).sum())
        log_q = log_softmax(s / self.temperature, axis=1)
        self._kl += float((np.exp(log_p) * (log_p - log_q)).sum())
        self._agreement += float((s.argmax(1) == t.argmax(1)).sum())
        self._teacher_loss += float(-log_softmax(t, axis=1)[rows, labels].sum())
        self._hard += float(-log_softmax(s, axis=1)[rows, labels].sum())
        self._n += len(labels)

    def merge(self, other: "ScaleFitProbe") -> None:
        """Add another worker's rows."""
        self._sums += other._sums
        self._kl += other._kl
        self._agreement += other._agreement
        self._teacher_loss += other._teacher_loss
        self._hard += other._hard
        self._n += other._n

    def compute(self) -> ScaleFit | None:
        """None without rows, or where the objective is zero already."""
        if not self._n:
            return None
        means = self._sums / self._n
        now, best = float(means[FACTORS == 1.0][0]), int(means.argmin())
        if now <= 0:
            return None
        return ScaleFit(
            factor=float(FACTORS[best]),
            gain=1 - float(means[best]) / now,
            objective=now,
            agreement=self._agreement / self._n,
            kl=self._kl / self._n,
            teacher_loss=self._teacher_loss / self._n,
            hard_loss=self._hard / self._n,
            n=self._n,
        )

    def _soft(self, z: NDArray[np.float64], t: NDArray[np.float64], log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.family == "mse":
            distance: NDArray[np.float64] = ((z - t) ** 2).mean(axis=1)
            return distance
        log_q = log_softmax(z / self.temperature, axis=1)
        if self.family == "reverse-kl":
            log_p, log_q = log_q, log_p
        divergence: NDArray[np.float64] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
        return divergence * (self.temperature**2 if self.squared else 1.0)
