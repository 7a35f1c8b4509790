"""Rows of one split that are found again in the other: exactly, by a hash, or nearly, by their distance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

#: Rows of each split whose distances are taken, and numbers that a row is projected to. Together they bound the work.
MAX_ROWS, PROJECTED = 2000, 128
#: Table of directions for discrete inputs: values that fall together under this modulus count as the same.
TOKENS = 1 << 15
#: A row is near another where it is closer than this share of the usual distance between neighbouring training rows.
NEAR = 0.25
#: Share of the held-out rows that are as close to each other as a copy is to its original; rows to read it from.
CHANCE, FEWEST = 0.05, 40
#: Share of copies from which a set was made of fewer rows than it has.
MOST = 0.5


@dataclass(frozen=True)
class RowOverlap:
    """Equal rows, by their hashes.

    train, held_out: rows looked at. shared: held-out rows that are equal to a training row. distinct: different
    training rows. repeated: share of the training rows that are equal to another one. If both splits were drawn at
    random from one pool of rows, a held-out row would be found among the training rows as often as these are found
    among each other, which is ``repeated``.
    """

    train: int
    held_out: int
    shared: int
    distinct: int
    repeated: float

    @property
    def share(self) -> float:
        """Share of the held-out rows that are equal to a training row."""
        return self.shared / self.held_out


@dataclass(frozen=True)
class NearOverlap:
    """Nearly equal rows, by their distances.

    train, held_out: different rows compared. near: held-out rows whose nearest training row is closer than ``NEAR``
    times the median distance from a training row to its nearest other one. expected: share of the training rows that
    are as close to another one.
    """

    train: int
    held_out: int
    near: int
    expected: float

    @property
    def share(self) -> float:
        """Share of the held-out rows that have such a neighbour."""
        return self.near / self.held_out


@dataclass(frozen=True)
class NearCopies:
    """Training rows that were made from each other.

    rows: compared. copied: share that lie closer to another training row than nearly every held-out row does to another
    held-out one, where both are measured in their split's usual distance between two rows. distinct: groups of such
    rows, those without a copy included. Of rows from one pool, ``CHANCE`` would be copied.
    """

    rows: int
    copied: float
    distinct: int

    @property
    def different(self) -> float:
        """Share of the rows that are not another one altered; all of them unless most are copies."""
        return self.distinct / self.rows if self.copied >= MOST else 1.0


def equal_rows(train: NDArray[np.int64], held_out: NDArray[np.int64]) -> RowOverlap:
    """Compare hashes, [n] and [m], one a row. Raises ValueError where either is empty."""
    if not len(train) or not len(held_out):
        raise ValueError("a split without rows cannot be compared; expected at least one hash of each")
    values, counts = np.unique(train, return_counts=True)
    return RowOverlap(
        train=len(train),
        held_out=len(held_out),
        shared=int(np.isin(held_out, values).sum()),
        distinct=len(values),
        repeated=float(counts[counts > 1].sum() / len(train)),
    )


def near_rows(train: NDArray[np.generic], held_out: NDArray[np.generic]) -> NearOverlap | None:
    """Compare inputs, [n, …] and [m, …], by distance after a random projection (Johnson and Lindenstrauss 1984).

    Discrete inputs are compared by which values they hold, wherever they stand. None where fewer than three different
    training rows are left, or all lie in one place.
    """
    own, others = projected(train[:MAX_ROWS]), projected(held_out[:MAX_ROWS])
    own = np.unique(own, axis=0)
    if len(own) < 3 or not len(others):
        return None
    within = nearest(own, own, but_itself=True)
    usual = float(np.median(within))
    if usual <= 0:
        return None
    across = nearest(others, own)
    return NearOverlap(len(own), len(others), int((across < NEAR * usual).sum()), float((within < NEAR * usual).mean()))


def near_copies(train: NDArray[np.generic], held_out: NDArray[np.generic]) -> NearCopies | None:
    """Compare the first rows of both, as many of one as of the other: [n, …] inputs each.

    None for fewer than ``FEWEST`` rows, and where rows of a split do not differ.
    """
    rows = min(len(train), len(held_out), MAX_ROWS)
    if rows < FEWEST:
        return None
    own, others = projected(train[:rows]), projected(held_out[:rows])
    scales = [_usual(part) for part in (own, others)]
    if min(scales) <= 0:
        return None
    limit = float(np.quantile(nearest(others, others, but_itself=True), CHANCE)) / scales[1] * scales[0]
    tree = cKDTree(own)
    pairs = tree.query_pairs(limit, output_type="ndarray")
    linked = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    groups, _ = connected_components(linked, directed=False)
    return NearCopies(rows, float(len(np.unique(pairs)) / rows), int(groups))


def _usual(rows: NDArray[np.float64]) -> float:
    """Median distance between two rows, from half as many pairs that share none."""
    half = len(rows) // 2
    return float(np.median(np.linalg.norm(rows[:half] - rows[half : 2 * half], axis=1)))


def projected(inputs: NDArray[np.generic]) -> NDArray[np.float64]:
    """[n, d] of inputs [n, …]: numbers as they are, or projected where they are many; discrete values as a sum of
    random directions, one a value.
    """
    rows = inputs.reshape(len(inputs), -1)
    rng = np.random.default_rng(0)
    if rows.dtype.kind != "f":
        directions = rng.normal(size=(TOKENS, PROJECTED)) / np.sqrt(PROJECTED)
        values = rows.astype(np.int64) % TOKENS
        return np.stack([directions[row].sum(axis=0) for row in values]) if len(rows) else np.zeros((0, PROJECTED))
    numbers = np.nan_to_num(rows.astype(np.float64))
    if rows.shape[1] <= PROJECTED:
        return numbers
    return np.asarray(numbers @ (rng.normal(size=(rows.shape[1], PROJECTED)) / np.sqrt(PROJECTED)))


def nearest(rows: NDArray[np.float64], among: NDArray[np.float64], *, but_itself: bool = False) -> NDArray[np.float64]:
    """[n] Euclidean distance from each row to the nearest of the others, [m, d]."""
    sizes = (among**2).sum(axis=1)
    found = np.empty(len(rows))
    for start in range(0, len(rows), 256):
        block = rows[start : start + 256]
        squares = (block**2).sum(axis=1)[:, None] - 2 * block @ among.T + sizes
        if but_itself:
            squares[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        found[start : start + 256] = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return found
