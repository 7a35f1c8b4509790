"""The teacher's logits as the loss had them, beside those of the same teacher at evaluation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Rows = NDArray[np.floating]

#: Rows on either side below which nothing is said.
FEWEST_ROWS = 200
#: Quantiles of the spread within rows that one factor has to explain, and by how much the factors of theirs may differ.
#: Quantiles of a few hundred rows are uncertain by about a twentieth.
QUANTILES, SAME_FACTOR = (0.1, 0.25, 0.5, 0.75, 0.9), 1.15


@dataclass(frozen=True)
class LoopTeacher:
    """rows: counted in the loop. same_split: whether the rows at evaluation are of the split that was trained on.

    multiple: how many times as large the loop's logits are, where one factor explains all quantiles of the spread
    within rows; otherwise None. levelled, own_levelled: share of rows, in the loop and at evaluation, in which half of
    the classes or more share the smallest value, exactly. kept: classes of a levelled row above that value (median).
    kept_mass: probability that so many of the teacher's largest classes have at evaluation, at the run's temperature.
    """

    rows: int
    same_split: bool
    multiple: float | None
    levelled: float
    own_levelled: float
    kept: int
    kept_mass: float


def loop_teacher(loop: Rows, own: Rows, temperature: float, *, same_split: bool) -> LoopTeacher | None:
    """Compare logits [n, C] in the loop with those [m, C] at evaluation, of other rows. None for too few rows."""
    if min(len(loop), len(own)) < FEWEST_ROWS:
        return None
    above, own_above = _above_least(loop), _above_least(own)
    levelled = _levelled(above, loop.shape[1])
    kept = int(np.median(above[levelled])) if levelled.any() else loop.shape[1]
    return LoopTeacher(
        rows=len(loop),
        same_split=same_split,
        multiple=_multiple(loop, own),
        levelled=float(levelled.mean()),
        own_levelled=float(_levelled(own_above, own.shape[1]).mean()),
        kept=kept,
        kept_mass=_mass(own, kept, temperature),
    )


def _above_least(rows: Rows) -> NDArray[np.intp]:
    """[n] number of classes above the smallest value of their row."""
    return np.asarray((rows > rows.min(axis=1, keepdims=True)).sum(axis=1))


def _levelled(above: NDArray[np.intp], classes: int) -> NDArray[np.bool_]:
    """[n] whether two classes or more, and half of them, share the smallest value; not all of them."""
    return np.asarray((above >= 1) & (above <= classes - 2) & (2 * above <= classes))


def _mass(rows: Rows, largest: int, temperature: float) -> float:
    """Mean probability of so many of the largest classes; nothing has to be sorted for all of them."""
    if largest == rows.shape[1]:
        return 1.0
    likely = np.sort(softmax(rows.astype(np.float64) / temperature, axis=1), axis=1)
    return float(likely[:, -largest:].sum(axis=1).mean())


def _multiple(loop: Rows, own: Rows) -> float | None:
    one, other = (np.quantile(rows.astype(np.float64).std(axis=1), QUANTILES) for rows in (loop, own))
    if other.min() <= 0 or one.min() <= 0:
        return None
    factors = one / other
    return float(np.median(factors)) if factors.max() / factors.min() <= SAME_FACTOR else None
