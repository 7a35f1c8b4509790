"""How much a ranking leans towards popular items, and whether the transfer set holds the others at all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Rows below which nothing is correlated.
ENOUGH_ROWS = 100


@dataclass(frozen=True)
class PopularityLean:
    """Held-out rows. student, twin: partial correlation of a model's score with the logarithm of the item's count in
    the transfer set, given the teacher's score; rows: counted.

    unseen: share of held-out rows whose item is not in the recorded transfer set of ``transfer_rows`` rows; expected:
    the same, had the transfer set been drawn as the held-out rows were. popular_first: area under the ROC curve of an
    item's held-out count for its being in the transfer set.
    """

    rows: int
    student: float | None
    twin: float | None
    unseen: float
    expected: float
    popular_first: float | None
    transfer_rows: int


def popularity_lean(
    held_out_items: Ints,
    transfer_items: Ints,
    teacher: Array,
    student: Array | None,
    twin: Array | None,
) -> PopularityLean | None:
    """Items [n] and [m] by number; scores [n] on the held-out rows. None for too few rows."""
    n, m = len(held_out_items), len(transfer_items)
    if n < ENOUGH_ROWS or m < ENOUGH_ROWS:
        return None
    items, at = np.unique(np.concatenate([held_out_items, transfer_items]), return_inverse=True)
    held, shown = (np.bincount(part, minlength=len(items)) for part in (at[:n], at[n:]))
    popularity = np.log1p(shown[at[:n]].astype(np.float64))
    share = held / n
    present = shown[held > 0] > 0
    count = held[held > 0].astype(np.float64)
    return PopularityLean(
        rows=n,
        student=None if student is None else _partial(student, popularity, teacher),
        twin=None if twin is None else _partial(twin, popularity, teacher),
        unseen=float(share[shown == 0].sum()),
        expected=float((share * (1 - share) ** m).sum()),
        popular_first=_area(count[present], count[~present]),
        transfer_rows=m,
    )


def _partial(first: Array, second: Array, given: Array) -> float | None:
    design = np.stack([given, np.ones_like(given)], axis=1)
    rest = [u - design @ np.linalg.lstsq(design, u, rcond=None)[0] for u in (first, second)]
    size = float(np.sqrt((rest[0] ** 2).sum() * (rest[1] ** 2).sum()))
    return float((rest[0] * rest[1]).sum() / size) if size > 0 else None


def _area(above: Array, below: Array) -> float | None:
    """P(above > below) + ½ P(equal)."""
    if not len(above) or not len(below):
        return None
    ordered = np.sort(below)
    less, not_more = (np.searchsorted(ordered, above, side=side) for side in ("left", "right"))
    return float((less + not_more).mean() / (2 * len(below)))
