"""Whether a model's answers fit the labels of other rows, so many places further on, better than those of their own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ShiftedRows:
    """The cyclic shift of the answers, of all there are, that fits the labels best.

    rows: counted. shift: places that the answers move down. plain, shifted: share of answers that are right where they
    stand, and after it. second: share that is right after the second best. chance: Σ of both frequencies of each class,
    what answers to unrelated rows have right. agreement, agreement_shifted: share of another model's answers to the
    same rows that are the same, likewise; None without one.
    """

    rows: int
    shift: int
    plain: float
    shifted: float
    second: float
    chance: float
    agreement: float | None = None
    agreement_shifted: float | None = None


def shifted_rows(answers: Ints, labels: Ints, others: Ints | None = None) -> ShiftedRows | None:
    """answers, labels, another model's answers: classes [n] of the same rows. Time grows as C n log n.

    None for fewer than three rows.
    """
    n = len(labels)
    if n < 3:
        return None
    right, chance = np.zeros(n), 0.0
    for number in np.intersect1d(answers, labels):
        said, is_so = (answers == number).astype(float), (labels == number).astype(float)
        # Circular cross-correlation: how many coincide after each shift.
        right += np.fft.irfft(np.fft.rfft(is_so) * np.conj(np.fft.rfft(said)), n)
        chance += float(said.mean() * is_so.mean())
    share = np.rint(right) / n
    first, second = (1 + np.argsort(-share[1:], kind="stable")[:2]).tolist()
    return ShiftedRows(
        rows=n,
        shift=first if first <= n // 2 else first - n,
        plain=float(share[0]),
        shifted=float(share[first]),
        second=float(share[second]),
        chance=chance,
        agreement=None if others is None else float((answers == others).mean()),
        agreement_shifted=None if others is None else float((np.roll(answers, first) == others).mean()),
    )
