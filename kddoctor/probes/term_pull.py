"""Which terms of the loss have come to rest against each other, and which one was never followed?

The last layer of a student can turn its logits z into z + εAz + εb for any matrix A and vector b. Where training has
come to rest, no such change lowers what was followed: the pulls of its terms, Σ g zᵀ and Σ g with g the gradient of a
term in the logits, cancel. A term that pulls on while the other one is at rest alone was not followed at all, whatever
its recorded value says.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

Family = Literal["kl", "reverse-kl", "mse"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TermPull:
    """On training rows, in evaluation mode.

    hard, soft: length of the labels' and of the teacher's pull, as a share of what it would be if all rows pulled one
    way; 0 at rest. cosine: between the two; -1 where they hold each other. followed: weight of the teacher's term that
    the student's rest speaks for, as a multiple of the declared one; None where only one term is declared. n: rows.
    """

    hard: float
    soft: float
    cosine: float
    followed: float | None
    n: int


class TermPullProbe:
    """Sums both pulls. alpha: declared weight of the teacher's term. squared: that term carries T²."""

    def __init__(self, family: Family, temperature: float, alpha: float, classes: int, *, squared: bool) -> None:
        self.family, self.temperature, self.alpha, self.squared = family, temperature, alpha, squared
        self._pulls = {term: np.zeros((classes, classes + 1)) for term in ("hard", "soft")}
        self._most = dict.fromkeys(self._pulls, 0.0)
        self._n = 0

    def update(self, student: NDArray[np.floating], teacher: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """A chunk: logits [n, C], labels [n]."""
        s, t = student.astype(np.float64), teacher.astype(np.float64)
        # What all logits of a row have in common changes no probability.
        reach = np.concatenate([s - s.mean(1, keepdims=True), np.ones((len(s), 1))], axis=1)
        for term, gradient in (("hard", _of_labels(s, labels)), ("soft", self._of_teacher(s, t))):
            self._pulls[term] += gradient.T @ reach
            self._most[term] += float((np.linalg.norm(gradient, axis=1) * np.linalg.norm(reach, axis=1)).sum())
        self._n += len(labels)

    def merge(self, other: "TermPullProbe") -> None:
        """Add another worker's rows."""
        for term in self._pulls:
            self._pulls[term] += other._pulls[term]
            self._most[term] += other._most[term]
        self._n += other._n

    def compute(self) -> TermPull | None:
        """None without rows, or where a term has no gradient on any row."""
        if not self._n or min(self._most.values()) <= 0:
            return None
        hard, soft = self._pulls["hard"], self._pulls["soft"]
        both, of_soft = float((hard * soft).sum()), float((soft * soft).sum())
        lengths = float(np.linalg.norm(hard)), float(np.linalg.norm(soft))
        known = 0 < self.alpha < 1 and of_soft > 0
        return TermPull(
            hard=lengths[0] / self._most["hard"],
            soft=lengths[1] / self._most["soft"],
            cosine=both / max(lengths[0] * lengths[1], 1e-300),
            followed=-both / of_soft * (1 - self.alpha) / self.alpha if known else None,
            n=self._n,
        )

    def _of_teacher(self, s: Floats, t: Floats) -> Floats:
        """[n, C]: the gradient of the declared term in the student's logits."""
        if self.family == "mse":
            return np.asarray(2 * (s - t) / s.shape[1])
        temperature = self.temperature
        factor = (temperature**2 if self.squared else 1.0) / temperature
        if self.family == "kl":
            return np.asarray(factor * (softmax(s / temperature, axis=1) - softmax(t / temperature, axis=1)))
        log_q, log_p = log_softmax(s / temperature, axis=1), log_softmax(t / temperature, axis=1)
        q = np.exp(log_q)
        ratio = log_q - log_p
        return np.asarray(factor * q * (ratio - (q * ratio).sum(1, keepdims=True)))


def _of_labels(s: Floats, labels: NDArray[np.int64]) -> Floats:
    """[n, C]: the gradient of the cross-entropy in the logits."""
    gradient = softmax(s, axis=1)
    gradient[np.arange(len(labels)), labels] -= 1
    return np.asarray(gradient)
