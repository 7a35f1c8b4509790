"""Two temperatures, one for each side, at which a divergence reproduces the recorded losses.

A grid holds the usual ones. A loss that came from elsewhere brings its own, far below one as in self-supervision or
anything in between; then the error of the best constant is a smooth function of both, and its lowest point is found by
descent from the best of a coarse grid.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from kddoctor.probes.mistaken_forms import StepRows, log_partition

Array = NDArray[np.float64]

#: Points of the coarse grid on each side.
COARSE = tuple(float(t) for t in np.geomspace(0.02, 64.0, 12))
#: The best points of the grid from which a descent starts, and evaluations that each may take.
STARTS, EVALUATIONS = 3, 160
#: Steps from which two temperatures and a constant are identified, and as many as are looked at.
FEWEST_STEPS, MOST_STEPS = 6, 12
#: Root mean square of the relative errors at which both are found, in float32.
FOUND = 3e-5
#: Probability of a class that is all there is, and share of the rows.
CERTAIN, NEARLY_ALL = 0.9999, 0.9
#: Elements of all steps together, some milliseconds an evaluation; of more, fewer steps are looked at, or none.
MOST_ELEMENTS = 100_000


def two_temperatures(steps: Sequence[StepRows], recorded: Array) -> tuple[float, float] | None:
    """(the student's, the teacher's), where recorded [steps] is a constant times a divergence at these; else None."""
    count = min(len(steps), MOST_ELEMENTS // max(1, *(rows.student.size for rows in steps))) if steps else 0
    if count < FEWEST_STEPS or not np.abs(recorded).max() > 0:
        return None
    chosen = np.linspace(0, len(steps) - 1, count).round().astype(int)
    steps, recorded = [steps[k] for k in chosen], recorded[chosen]
    sides = [(rows.student[rows.counts], rows.teacher[rows.counts]) for rows in steps]
    best: tuple[float, tuple[float, float]] | None = None
    for backwards in (False, True):

        def error(at: Array, backwards: bool = backwards) -> float:
            return _error(sides, recorded, float(np.exp(at[0])), float(np.exp(at[1])), backwards)

        grid = sorted(product(np.log(COARSE), repeat=2), key=lambda at: error(np.asarray(at)))
        for start in grid[:STARTS]:
            found = minimize(
                error, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxfev": EVALUATIONS}
            )
            if best is None or found.fun < best[0]:
                best = float(found.fun), (float(np.exp(found.x[0])), float(np.exp(found.x[1])))
            if best[0] < FOUND:
                return None if _one_hot(sides, *best[1]) else best[1]
    return None


def _one_hot(sides: Sequence[tuple[Array, Array]], own: float, other: float) -> bool:
    """Whether one side is all but certain of one class on nearly all rows: then it has no temperature to be found."""
    for part, t in ((0, own), (1, other)):
        tops = np.concatenate(
            [np.exp((z / t).max(axis=1) - log_partition(z / t)[:, 0]) for z in (s[part] for s in sides)]
        )
        if float((tops > CERTAIN).mean()) > NEARLY_ALL:
            return True
    return False


def _error(sides: Sequence[tuple[Array, Array]], recorded: Array, own: float, other: float, backwards: bool) -> float:
    """Root mean square over steps of what the best constant leaves, relative to the recorded values' own."""
    values = np.array([_divergence(*_pair(s / own, t / other, backwards)) for s, t in sides])
    square = float(values @ values)
    if not np.isfinite(square) or square <= 0:
        return 1.0
    left = recorded - float(values @ recorded) / square * values
    return float(np.sqrt((left @ left) / (recorded @ recorded)))


def _pair(student: Array, teacher: Array, backwards: bool) -> tuple[Array, Array]:
    return (student, teacher) if backwards else (teacher, student)


def _divergence(targets: Array, answers: Array) -> float:
    """Mean over rows of Σ p (log p − log q)."""
    log_p, log_q = targets - log_partition(targets), answers - log_partition(answers)
    return float((np.exp(log_p) * (log_p - log_q)).sum() / max(1, len(log_p)))
