"""Rows of one split that are found again in the other: exactly, by a hash, or nearly, by their distance."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from kddoctor.probes.row_distances import nearest, nearest_rows, projected

#: Rows of each split whose distances are taken, which bounds the work.
MAX_ROWS = 2000
#: A row is near another where it is closer than this share of the usual distance between neighbouring training rows;
#: and up to the second one, as long as hardly any training row is so close to another one.
NEAR, NEARBY = 0.25, 0.5
HARDLY_ANY = 0.005
#: A copy is closer to its original than this share of the distance to the nearest row held out, and than all but that
#: share of the held-out rows are to each other; rows to read it from.
CLOSER, CHANCE, FEWEST = 0.5, 0.05, 40
#: Share of copies from which a set was made of fewer rows than it has.
MOST = 0.5


@dataclass(frozen=True)
class RowOverlap:
    """Equal rows, by their hashes.

    train, held_out: rows looked at. shared: held-out rows that are equal to a training row. distinct: different
    training rows. repeated, repeated_held_out: share of the rows of a split that are equal to another one of it. If
    both splits were drawn at random from one pool of rows, a held-out row would be found among the training rows as
    often as these are found among each other, which is ``repeated``. clumped: pairs of equal rows, of both splits, over
    those that there would be if each different row were repeated with the same chance: 1 or less where a whole set was
    copied a few times and then split (0 where nothing is repeated), and far more of what repeats itself, as of words,
    of which a few are frequent (spelling: 2.1 to 4.3).
    """

    train: int
    held_out: int
    shared: int
    distinct: int
    repeated: float
    repeated_held_out: float
    clumped: float

    @property
    def share(self) -> float:
        """Share of the held-out rows that are equal to a training row."""
        return self.shared / self.held_out


@dataclass(frozen=True)
class NearOverlap:
    """Nearly equal rows, by their distances.

    train, held_out: rows compared, of the training rows different ones. radius: of the median distance from a training
    row to its nearest other one, a share. near: held-out rows that are closer than that to a training row which has no
    other so close. expected: share of the training rows of which the same is true, or of those that are nearest to
    held-out rows, where it is larger; and of those that are there more than once, where that is larger still.
    """

    train: int
    held_out: int
    near: int
    expected: float
    radius: float = NEAR

    @property
    def share(self) -> float:
        """Share of the held-out rows that have such a neighbour."""
        return self.near / self.held_out


@dataclass(frozen=True)
class NearCopies:
    """Training rows that were made from each other.

    rows: compared. copied: share that lie closer to another training row than ``CLOSER`` of the way to the nearest row
    held out, of which there are as many, and closer than nearly every held-out row does to another one, where both are
    measured in their split's usual distance between two rows. Of rows from one pool hardly any does the first, and of
    rows from elsewhere the second. distinct: groups of such rows, those without a copy included.
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
    values, number = np.unique(np.concatenate([train, held_out]), return_inverse=True)
    here, there = (np.bincount(part, minlength=len(values)) for part in np.split(number.reshape(-1), [len(train)]))
    return RowOverlap(
        train=len(train),
        held_out=len(held_out),
        shared=int(there[here > 0].sum()),
        distinct=int((here > 0).sum()),
        repeated=_repeated(here),
        repeated_held_out=_repeated(there),
        clumped=_clumped(here + there),
    )


def near_rows(train: NDArray[np.generic], held_out: NDArray[np.generic]) -> NearOverlap | None:
    """Compare inputs, [n, …] and [m, …], by distances that suit them (``nearest_rows``).

    None where fewer than three different training rows are left, or all lie in one place.
    """
    found = nearest_rows(train[:MAX_ROWS], held_out[:MAX_ROWS])
    if found is None:
        return None
    closest = float(np.quantile(found.train, HARDLY_ANY, method="lower"))
    radius = min(max(closest, NEAR), NEARBY)
    among_others = [float((part < radius).mean()) for part in (found.train, found.originals)]
    _, counts = np.unique(train[:MAX_ROWS].reshape(len(train[:MAX_ROWS]), -1), axis=0, return_counts=True)
    expected = max(*among_others, _repeated(counts))
    return NearOverlap(len(found.train), len(found.across), int((found.across < radius).sum()), expected, radius)


def _repeated(counts: NDArray[np.int64]) -> float:
    """Share of the rows that are equal to another one, of how often each different one is there."""
    return float(counts[counts > 1].sum() / counts.sum())


def _clumped(counts: NDArray[np.int64]) -> float:
    """Mean of c (c - 1) over what a Poisson distribution without its zeros has at the mean of these counts c."""
    mean = float(counts.mean())
    if mean == 1:
        return 0.0
    rate = brentq(lambda r: r / -math.expm1(-r) - mean, 1e-9, mean)
    return float((counts * (counts - 1.0)).mean() / (rate * mean))


def near_copies(train: NDArray[np.generic], held_out: NDArray[np.generic]) -> NearCopies | None:
    """Compare the first rows of both, as many of one as of the other: [n, …] inputs each.

    None for fewer than ``FEWEST`` rows, and where those held out do not differ.
    """
    rows = min(len(train), len(held_out), MAX_ROWS)
    if rows < FEWEST:
        return None
    own, others = projected(train[:rows]), projected(held_out[:rows])
    usual = _usual(others)
    if usual <= 0:
        return None
    limit = float(np.quantile(nearest(others, others, but_itself=True), CHANCE)) / usual * _usual(own)
    radius = np.minimum(CLOSER * nearest(own, others), limit)
    near = cKDTree(own).query_ball_point(own, radius)  # of each row, itself included
    sizes = np.array([len(group) for group in near])
    ends = np.repeat(np.arange(rows), sizes), np.concatenate(near).astype(np.int64)
    count, _ = connected_components(coo_array((np.ones(sizes.sum()), ends), shape=(rows, rows)), directed=False)
    return NearCopies(rows, float((sizes > 1).mean()), int(count))


def _usual(rows: NDArray[np.float64]) -> float:
    """Median distance between two rows, from half as many pairs that share none."""
    half = len(rows) // 2
    return float(np.median(np.linalg.norm(rows[:half] - rows[half : 2 * half], axis=1)))
