"""Whether the student's units stand in the order of the teacher's, one by one, after one side was resized to the other.

Units of two networks have no common order: a student that was trained beside a teacher, or through a map that learns,
has none of the teacher's. Where a feature loss compared unit by unit what had been cut, pooled or interpolated to one
width, the student's units follow those of the teacher that stood in their places.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Array = NDArray[np.float64]

#: Rows and units that are needed, and units of a layer that are looked at.
FEWEST_ROWS, FEWEST_UNITS, MOST_UNITS = 32, 4, 2048
#: Rows that are looked at, evenly spread: of sequences every position is one.
MOST_ROWS = 2048
#: Orders drawn at random, and share of the liveliest unit's spread from which a unit counts as alive.
ORDERS, LIVE = 50, 1e-3


@dataclass(frozen=True)
class UnitOrder:
    """The two layers whose units go together most, beyond what any order of them would.

    resized: how the wider one came to the other's width. units: those that are alive on both sides. together: mean over
    them of the correlation of the student's with the teacher's in its place. by_chance, spread: mean and standard
    deviation of that over random orders.
    """

    teacher: str
    student: str
    resized: str
    units: int
    together: float
    by_chance: float
    spread: float

    @property
    def beyond_chance(self) -> float:
        """Correlation that the order alone explains."""
        return self.together - self.by_chance


def unit_order(teacher: Mapping[str, Floats], student: Mapping[str, Floats]) -> UnitOrder | None:
    """Layers: [n, …] activations of the same examples. None where no two of them can be compared.

    Complexity: a product of two layers for each way to resize.
    """
    ours = {name: rows for name, layer in student.items() if (rows := _rows(layer)) is not None}
    found = [
        order
        for name, layer in teacher.items()
        if (theirs := _rows(layer)) is not None
        for other, rows in ours.items()
        if len(rows) == len(theirs)
        for order in _orders(name, theirs, other, rows)
    ]
    return max(found, key=lambda order: order.beyond_chance / max(order.spread, 1e-9), default=None)


def _orders(teacher: str, theirs: Array, student: str, ours: Array) -> Iterator[UnitOrder]:
    width = min(theirs.shape[1], ours.shape[1])
    ways = WAYS if theirs.shape[1] != ours.shape[1] else {"as they are": _first}
    for way, resize in ways.items():
        wanted, live = _standardised(resize(theirs, width))
        had, alive = _standardised(resize(ours, width))
        products = wanted.T @ had / len(ours)
        known = live[:, None] & alive
        if int(known.diagonal().sum()) < FEWEST_UNITS:
            continue
        generator = np.random.default_rng(0)
        at = np.arange(width)
        drawn = [(at, generator.permutation(width)) for _ in range(ORDERS)]
        chance = [float(products[order][known[order]].mean()) for order in drawn if known[order].any()]
        yield UnitOrder(
            teacher,
            student,
            way,
            int(known.diagonal().sum()),
            together=float(products.diagonal()[known.diagonal()].mean()),
            by_chance=float(np.mean(chance)),
            spread=float(np.std(chance)),
        )


def _standardised(rows: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Units in standard deviations, and which of them ever change."""
    centred = rows - rows.mean(axis=0)
    spread = centred.std(axis=0)
    live = spread > LIVE * float(spread.max())
    return np.asarray(centred / np.where(live, spread, np.inf)), np.asarray(live)


def _rows(layer: Floats) -> Array | None:
    """[n, d], one row an example, or a position of a sequence; of a map with many places, means over these."""
    values = np.asarray(layer, np.float64)
    if values.ndim == 3:
        values = values.reshape(-1, values.shape[-1])
    elif values.ndim > 3:
        flat = values.reshape(len(values), -1)
        values = flat if flat.shape[1] <= MOST_UNITS else values.reshape(*values.shape[:2], -1).mean(axis=2)
    values = values.reshape(len(values), -1)
    if len(values) < FEWEST_ROWS or not FEWEST_UNITS <= values.shape[1] <= MOST_UNITS or not np.isfinite(values).all():
        return None
    chosen = np.linspace(0, len(values) - 1, min(len(values), MOST_ROWS)).round().astype(int)
    return np.asarray(values[chosen])


# Ways to one width ----------------------------------------------------------------------------------------


def _first(rows: Array, width: int) -> Array:
    return rows[:, :width]


def _pooled(rows: Array, width: int) -> Array:
    """Means of neighbours: place i has those from floor(i d / w) to ceil((i + 1) d / w)."""
    whole = rows.shape[1]
    sums = np.concatenate([np.zeros((len(rows), 1)), rows.cumsum(axis=1)], axis=1)
    at = np.arange(width)
    start, stop = at * whole // width, -(-(at + 1) * whole // width)
    return np.asarray((sums[:, stop] - sums[:, start]) / (stop - start))


def _interpolated(rows: Array, width: int) -> Array:
    """Linearly, at the middles of w equal parts."""
    whole = rows.shape[1]
    place = np.clip((np.arange(width) + 0.5) * whole / width - 0.5, 0, whole - 1)
    left = np.floor(place).astype(int)
    right = np.minimum(left + 1, whole - 1)
    return np.asarray(rows[:, left] + (place - left) * (rows[:, right] - rows[:, left]))


def _nearest(rows: Array, width: int) -> Array:
    return rows[:, np.arange(width) * rows.shape[1] // width]


WAYS: Mapping[str, Callable[[Array, int], Array]] = {
    "cut": _first,
    "pooled": _pooled,
    "interpolated": _interpolated,
    "nearest": _nearest,
}
