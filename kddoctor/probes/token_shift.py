"""Whether logits or labels of a sequence lie one or more positions off."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

SHIFTS = (-2, -1, 0, 1, 2)
#: Relative difference up to which two rows of logits are the same, and columns by which the like of a row is sought.
SAME, SOME_COLUMNS = 1e-3, 8


@dataclass(frozen=True)
class TokenShift:
    """sequences: compared ones. moved: {shift: share} of the sequences whose outputs in the loop equal the teacher's
    own, taken that many positions later, everywhere and not at shift 0; still: share of those that lie in place.
    within: share of the positions whose output is the teacher's own at another position of the sequence, however far,
    beyond what another sequence would give. All None without a second pass of the teacher.

    accuracy: {shift: share} of positions at which the teacher's own top token (where it was recorded, else the loop's)
    is the label that many positions later; positions: their number. hard_errors: {shift: largest relative error} of
    the cross-entropy with labels that many positions later against the recorded hard-label loss, None without one.
    """

    sequences: int
    moved: dict[int, float] | None
    still: float | None
    accuracy: dict[int, float]
    positions: int
    hard_errors: dict[int, float] | None
    within: float | None = None

    @property
    def displaced(self) -> float:
        """Share of the outputs that are the teacher's own of another position of the same sequence."""
        return max(sum((self.moved or {}).values()), self.within or 0.0)

    @property
    def labels_at(self) -> int:
        """The shift at which labels are what the teacher foretells."""
        return max(self.accuracy, key=lambda shift: (self.accuracy[shift], -abs(shift)))

    @property
    def margin(self) -> float:
        """By how much the teacher is better there than at any other shift."""
        best = self.labels_at
        return self.accuracy[best] - max(share for shift, share in self.accuracy.items() if shift != best)


def overlap(a: NDArray[Any], b: NDArray[Any], shift: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Parts of [B, L, …] arrays in which position i of ``a`` faces position i + shift of ``b``."""
    length = a.shape[1]
    if shift >= 0:
        return a[:, : length - shift], b[:, shift:]
    return a[:, -shift:], b[:, : length + shift]


def sequence_shifts(in_loop: Floats, own: Floats, counts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[B] the shift at which a sequence's outputs are the teacher's own, 99 where none makes them so.

    in_loop, own: [B, L, V]. counts: [B, L] positions that count; others are not compared. 0 wins where several do.
    """
    found = np.full(len(in_loop), 99, np.int64)
    size = np.maximum(np.abs(own).mean(axis=(1, 2)), 1e-12)
    for shift in sorted(SHIFTS, key=lambda k: -abs(k)):  # the smallest last, so that it wins
        a, b = overlap(in_loop, own, shift)
        keep, _ = overlap(counts, counts, shift)
        number = keep.sum(axis=1)
        difference = (np.abs(a - b).mean(axis=2) * keep).sum(axis=1) / np.maximum(number, 1)
        found[(difference <= SAME * size) & (number > 0)] = shift
    return found


def found_within(in_loop: Floats, own: Floats, counts: NDArray[np.bool_]) -> int:
    """Positions [B, L] that count whose output is the teacher's own at another position of ``own``'s same row, and is
    not at its own.

    in_loop, own: [B, L, V]. The nearest output is sought by a few columns, then checked on all of them.
    """
    some = np.linspace(0, own.shape[2] - 1, min(SOME_COLUMNS, own.shape[2])).astype(int)
    found = 0
    for used, known, keep in zip(in_loop, own, counts, strict=True):
        limit = SAME * max(float(np.abs(known).mean()), 1e-12)
        away = keep & (np.abs(used - known).mean(axis=1) > limit)
        if away.any():
            nearest = cKDTree(known[:, some]).query(used[away][:, some], k=1)[1]
            found += int((np.abs(used[away] - known[nearest]).mean(axis=1) <= limit).sum())
    return found


def shifted_hits(logits: Floats, labels: Ints, shift: int) -> tuple[int, int]:
    """(hits, positions): the top token is the label ``shift`` positions later."""
    tops = logits.argmax(axis=-1)
    a, b = overlap(tops, labels, shift)
    counts = b != -100
    return int((a == b)[counts].sum()), int(counts.sum())


def shifted_cross_entropy(logits: Floats, labels: Ints, shift: int) -> float:
    """Mean −log p of the labels ``shift`` positions later, where they count; NaN where none does."""
    z, y = overlap(logits, labels, shift)
    counts = y != -100
    if not counts.any():
        return float("nan")
    rows = np.asarray(z[counts], np.float64)
    top = rows.max(axis=1)
    log_z = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return float((log_z - rows[np.arange(len(rows)), y[counts]]).mean())
