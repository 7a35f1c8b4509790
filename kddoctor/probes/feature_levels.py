"""Where a feature loss came to rest, beside what maps of known kinds would leave of it.

A map that knows nothing of the example can still give the mean of the target; one that is fitted to the student's own
features does better. Both levels follow from recorded features, whatever map the loop trained.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Array = NDArray[np.float64]
#: "plain": mean square; "relative": mean square over the target's variance.
Unit = Literal["plain", "relative"]

#: Columns of a layer that the fit looks at, evenly spread, and examples and steps that it needs.
MOST_COLUMNS, FEWEST_ROWS, FEWEST_STEPS = 512, 32, 8
#: Variance of a median over that of a mean, of normal values.
MEDIAN = np.pi / 2
#: Ridge, as a share of the mean square of the student's features.
RIDGE = 1e-2


@dataclass(frozen=True)
class Level:
    """What a mean square error to one layer of the teacher is worth. nothing: from an output of zero. mean: from each
    unit's mean; one_number: from one number for all units. fitted: from the best layer of the student by a linear map
    that was fitted on half of the examples, measured on the others. beside: from the student's units themselves, one by
    one, the first ones where the widths differ.
    """

    layer: str
    unit: Unit
    nothing: float
    mean: float
    one_number: float
    fitted: float
    beside: float


@dataclass(frozen=True)
class FeatureLevels:
    """first: the recorded term at the first step. early, last: its medians over the second and the last quarter of the
    steps. levels: of each layer of the teacher in each unit. rest: what is left of the other term that fell furthest,
    its median over the last quarter over its first value; 1 where none was recorded. noise: standard error of the
    difference of ``early`` and ``last``, from how much neighbouring steps differ.
    """

    first: float
    early: float
    last: float
    steps: int
    levels: tuple[Level, ...]
    rest: float = 1.0
    noise: float = 0.0


def feature_levels(
    term: Array, others: Iterable[Array], teacher: Mapping[str, Floats], student: Mapping[str, Floats]
) -> FeatureLevels | None:
    """term: [K] feature loss as recorded. others: [K] the other terms. Layers: [n, …] activations of the same examples.

    None for too few of either; a term that is zero, or not finite, at any step says nothing.
    """
    if len(term) < FEWEST_STEPS or not np.isfinite(term).all() or not (term > 0).all():
        return None
    few = len(term) // 4
    levels = tuple(_levels(teacher, {name: _rows(layer) for name, layer in student.items()}))
    if not levels:
        return None
    return FeatureLevels(
        first=float(term[0]),
        early=float(np.median(term[few : 2 * few])),
        last=float(np.median(term[-few:])),
        steps=len(term),
        levels=levels,
        rest=min((float(np.median(other[-few:]) / other[0]) for other in others if other[0] > 0), default=1.0),
        noise=_noise(term[few : 2 * few], term[-few:]),
    )


def _noise(*windows: Array) -> float:
    """Standard error of the difference of two medians; half the mean square successive difference knows no trend."""
    variances = [float((np.diff(window) ** 2).mean()) / 2 / len(window) for window in windows]
    return float(np.sqrt(MEDIAN * sum(variances)))


def _levels(teacher: Mapping[str, Floats], student: Mapping[str, Array]) -> Iterator[Level]:
    for name, layer in teacher.items():
        z = _rows(layer)
        near = [h for h in student.values() if len(h) == len(z)]
        if len(z) < FEWEST_ROWS or not near or not np.isfinite(z).all() or z.var() <= 0:
            continue
        if not all(np.isfinite(h).all() for h in near):
            continue
        plain = (
            float((z**2).mean()),
            float(z.var(axis=0).mean()),
            float(z.var()),
            min(_fitted(h, z) for h in near),
            min(_beside(h, z) for h in near),
        )
        yield Level(name, "plain", *plain)
        yield Level(name, "relative", *(value / float(z.var()) for value in plain))


def _fitted(student: Array, teacher: Array) -> float:
    """Mean square error on every second example of a ridge regression on the others."""
    h = np.column_stack([_thinned(student), np.ones(len(student))])
    z = _thinned(teacher)
    inner = h[::2].T @ h[::2]
    inner[np.diag_indices_from(inner)] += RIDGE * np.trace(inner) / len(inner)
    found = np.linalg.solve(inner, h[::2].T @ z[::2])
    return float(((h[1::2] @ found - z[1::2]) ** 2).mean())


def _beside(student: Array, teacher: Array) -> float:
    width = min(student.shape[1], teacher.shape[1])
    return float(((student[:, :width] - teacher[:, :width]) ** 2).mean())


def _thinned(rows: Array) -> Array:
    if rows.shape[1] <= MOST_COLUMNS:
        return rows
    return rows[:, np.linspace(0, rows.shape[1] - 1, MOST_COLUMNS).round().astype(int)]


def _rows(layer: Floats) -> Array:
    """[n, d], one row an example; of sequences, [n, L, d], one row a position."""
    values = np.asarray(layer, np.float64)
    return values.reshape(-1, values.shape[-1]) if values.ndim == 3 else values.reshape(len(values), -1)
