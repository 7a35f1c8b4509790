"""Would the student's own objective be lower with one more linear layer behind its logits?

The last layer of a network is linear, and could become any linear map of its outputs by training alone. Where training
has brought the objective to its lowest value, no such map lowers it further, however small the network is. What a map
still removes was left by the way that the student was trained: too few or too short steps, steps that are too long, a
penalty, a last layer that does not learn, or another student in its place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from kddoctor.probes.scale_fit import Family

Array = NDArray[np.float64]

#: Fewest rows for each column of logits, most rows, and most columns.
ROWS_PER_CLASS, MOST_ROWS, MOST_CLASSES = 8, 1024, 64
#: Singular values below this share of the largest span nothing that a map could be fitted to.
ZERO = 1e-5
#: Steps of the fit, which starts from the logits as they are.
STEPS = 20


@dataclass(frozen=True)
class OutputFit:
    """On training rows, in evaluation mode, with the declared objective.

    gain: share of the objective that a linear map of the logits removes, fitted on every other row and judged on the
    rest, and the other way round; negative where there is nothing to remove. scale: how many times as large it makes
    the logits, along the logits themselves. left: KL(teacher ‖ student) at the run's temperature over that of the best
    constant answer: 0 for a perfect imitation, 1 for a student that knows nothing. n: rows.
    """

    gain: float
    scale: float
    left: float
    n: int


def output_fit(
    student: NDArray[np.floating],
    teacher: NDArray[np.floating],
    labels: NDArray[np.int64],
    family: Family,
    temperature: float,
    alpha: float,
    *,
    squared: bool,
) -> OutputFit | None:
    """Logits [n, C] and labels [n]. None for too few rows, too many classes or an objective that is zero already."""
    n, classes = student.shape
    if classes > MOST_CLASSES or n < ROWS_PER_CLASS * classes:
        return None
    if n > MOST_ROWS:
        keep = np.linspace(0, n - 1, MOST_ROWS).round().astype(int)
        student, teacher, labels = student[keep], teacher[keep], labels[keep]
    s, t = student.astype(np.float64), teacher.astype(np.float64)
    objective = _Objective(t, labels, family, temperature, alpha, temperature**2 if squared else 1.0)
    x = _columns(s)
    halves = np.arange(len(s)) % 2 == 0
    now = float(objective.rows(s).mean())
    if not now > 0:
        return None
    fitted = np.empty_like(s)
    for half in (halves, ~halves):
        weights = _fitted(objective.of(half), s[half], x[half])
        fitted[~half] = s[~half] + x[~half] @ weights
    centred = s - s.mean(axis=0)
    size = float((centred**2).sum())
    return OutputFit(
        gain=1 - float(objective.rows(fitted).mean()) / now,
        scale=float((centred * fitted).sum()) / size if size > 0 else 1.0,
        left=_left(s, t, temperature),
        n=len(s),
    )


def _columns(s: Array) -> Array:
    """[n, r + 1] what a map is fitted to: the logits in coordinates of equal size, and a constant."""
    u, singular, _ = np.linalg.svd(s - s.mean(axis=0), full_matrices=False)
    kept = singular > ZERO * max(float(singular[0]), np.finfo(np.float64).tiny)
    return np.column_stack([u[:, kept] * np.sqrt(len(s)), np.ones(len(s))])


def _fitted(objective: "_Objective", s: Array, x: Array) -> Array:
    shape = (x.shape[1], s.shape[1])

    def value(weights: Array) -> tuple[float, Array]:
        rows, slope = objective.both(s + x @ weights.reshape(shape))
        return float(rows.mean()), (x.T @ slope).ravel() / len(s)

    found = minimize(value, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    weights: Array = found.x.reshape(shape)
    return weights


def _left(s: Array, t: Array, temperature: float) -> float:
    log_p, log_q = log_softmax(t / temperature, axis=1), log_softmax(s / temperature, axis=1)
    p = np.exp(log_p)
    most = float((p * (log_p - np.log(p.mean(axis=0)))).sum(axis=1).mean())
    own = float((p * (log_p - log_q)).sum(axis=1).mean())
    return own / most if most > 0 else 1.0


@dataclass(frozen=True)
class _Objective:
    """alpha times the teacher's term plus the rest times the cross-entropy, row by row."""

    teacher: Array
    labels: NDArray[np.int64]
    family: Family
    temperature: float
    alpha: float
    factor: float

    def of(self, chosen: NDArray[np.bool_]) -> "_Objective":
        return _Objective(
            self.teacher[chosen], self.labels[chosen], self.family, self.temperature, self.alpha, self.factor
        )

    def rows(self, z: Array) -> Array:
        return self.both(z)[0]

    def both(self, z: Array) -> tuple[Array, Array]:
        """[n] values, and [n, C] their slopes in the logits."""
        own = np.arange(len(z))
        log_q = log_softmax(z, axis=1)
        hard, of_hard = -log_q[own, self.labels], np.exp(log_q)
        of_hard[own, self.labels] -= 1
        soft, of_soft = self._soft(z)
        return self.alpha * soft + (1 - self.alpha) * hard, self.alpha * of_soft + (1 - self.alpha) * of_hard

    def _soft(self, z: Array) -> tuple[Array, Array]:
        if self.family == "mse":
            return ((z - self.teacher) ** 2).mean(axis=1), 2 * (z - self.teacher) / z.shape[1]
        t = self.temperature
        log_p, log_q = log_softmax(self.teacher / t, axis=1), log_softmax(z / t, axis=1)
        p, q = np.exp(log_p), np.exp(log_q)
        if self.family == "kl":
            return self.factor * (p * (log_p - log_q)).sum(axis=1), self.factor * (q - p) / t
        ratio = log_q - log_p
        value = (q * ratio).sum(axis=1)
        return self.factor * value, self.factor * q * (ratio - value[:, None]) / t
