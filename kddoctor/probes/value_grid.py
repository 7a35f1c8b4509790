"""Whether numbers lie on a grid of a few steps, as quantised ones do, and pile up at its ends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Values that a byte has. A number format with a mantissa has more of them, at distances that grow with their size.
LEVELS = 256
#: Share of a step by which rounding in float32 may move a value off its grid.
ROUNDING = 0.02
#: Steps below this share of the largest value are those of the number format itself.
FORMAT_STEP = 1e-5
#: Largest error, as a share of the largest output, with which a linear layer in float32 is recovered; the rounding of
#: that format; and how exactly a weight has to be known then, as a share of the largest one. Singular values below the
#: last share of the largest are none.
EXACT, ROUNDED, FOUND_TO, INDEPENDENT = 1e-5, 1e-7, 5e-4, 1e-6


@dataclass(frozen=True)
class ValueGrid:
    """elements: values looked at. distinct: different ones. step: distance of the grid that all of them lie on, None
    where there is none or more than ``LEVELS`` values differ. at_ends: share of the values that equal the smallest or
    the largest.
    """

    elements: int
    distinct: int
    step: float | None
    at_ends: float


def value_grid(values: NDArray[np.floating]) -> ValueGrid:
    """Of values of any shape. Raises ValueError for none at all."""
    flat = values.reshape(-1)
    if not flat.size:
        raise ValueError("no values; expected at least one")
    levels, counts = np.unique(flat, return_counts=True)
    return ValueGrid(
        elements=int(flat.size),
        distinct=len(levels),
        step=_step(levels.astype(np.float64)),
        at_ends=float((counts[0] + counts[-1]) / flat.size) if len(levels) > 1 else 1.0,
    )


def linear_weights(inputs: NDArray[np.floating], outputs: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """[m, C] weights W of outputs [n, C] = inputs [n, d] W + b, rounded to what the rows tell of them.

    Of the d inputs the m whose weights are known that well. None where no weights give these outputs, or where there is
    none that the rows tell.
    """
    alive = np.asarray(inputs[:, np.abs(inputs).max(axis=0) > 0], np.float64)
    if len(alive) < 2 * (alive.shape[1] + 1) or not alive.shape[1] or not np.isfinite(outputs).all():
        return None
    rows = np.column_stack([alive, np.ones(len(alive))])
    _, sizes, turned = np.linalg.svd(rows, full_matrices=False)
    kept = sizes > INDEPENDENT * sizes[0]
    inverse = turned[kept].T / sizes[kept]
    found = inverse @ (inverse.T @ (rows.T @ outputs.astype(np.float64)))
    largest = float(np.abs(outputs).max())
    left = rows @ found - outputs
    weights = found[:-1]
    if float(np.abs(left).max()) > EXACT * largest or not np.abs(weights).max():
        return None
    # Inputs that depend on each other, as those of rounded weights may, share their weights in any proportion.
    determined = (turned[~kept] ** 2).sum(axis=0)[:-1] < INDEPENDENT
    noise = max(float(np.sqrt((left**2).mean())), ROUNDED * largest)
    errors = noise * np.linalg.norm(inverse, axis=1)[:-1]
    # Least squares leave float32's noise in each weight; a quantised one has far wider gaps.
    cell = FOUND_TO * float(np.abs(weights).max())
    known = weights[determined & (errors < cell / 4)]
    return np.asarray(np.round(known / cell) * cell) if known.size else None


def _step(levels: NDArray[np.float64]) -> float | None:
    """The smallest distance between levels, where all are whole multiples of it (zero is one of an honest grid)."""
    if not 2 < len(levels) <= LEVELS:
        return None
    gaps = np.diff(levels)
    largest = float(np.abs(levels).max())
    if float(gaps.min()) <= FORMAT_STEP * largest:
        return None
    # The widest multiple gives the step most exactly: one of them may be 127 steps from zero.
    step = largest / round(largest / float(gaps.min()))
    multiples = levels / step
    return step if float(np.abs(multiples - multiples.round()).max()) <= ROUNDING else None
