"""How long the labelled part of each row is, in the rows that were trained on and in those that are judged."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.chunks import IGNORED_LABEL


@dataclass(frozen=True)
class RowLengths:
    """Rows of token labels [n, L] with -100 at positions that do not count.

    rows: all of them. empty: share without any counted label. width: L. longest: the largest length, where the length
    of a row is the number of positions up to its last counted label. at_longest: share of the rows with labels that
    have exactly that length. counted: number of counted labels. lengths: [L + 1] rows of each length.
    """

    rows: int
    empty: float
    width: int
    longest: int
    at_longest: float
    counted: int
    lengths: NDArray[np.int64]

    def beyond(self, length: int) -> float:
        """Share of the rows that are longer than this."""
        return float(self.lengths[length + 1 :].sum() / max(1, self.rows))


class RowLengthsProbe:
    """Accumulates :class:`RowLengths`; chunks may differ in width."""

    def __init__(self) -> None:
        self._lengths = np.zeros(1, np.int64)
        self._counted = 0
        self._width = 0

    def update(self, labels: NDArray[np.integer], mask: NDArray[np.bool_] | None = None) -> None:
        """Count rows: labels [n, L]; mask [n, L], true where the loss looked."""
        counts = np.asarray(labels) != IGNORED_LABEL
        if mask is not None:
            counts &= np.asarray(mask, bool)
        positions = np.arange(1, counts.shape[1] + 1)
        lengths = np.where(counts, positions, 0).max(axis=1, initial=0)
        self._add(np.bincount(lengths, minlength=counts.shape[1] + 1))
        self._counted += int(counts.sum())
        self._width = max(self._width, counts.shape[1])

    def merge(self, other: "RowLengthsProbe") -> None:
        """Add another worker's rows."""
        self._add(other._lengths)
        self._counted += other._counted
        self._width = max(self._width, other._width)

    def compute(self) -> RowLengths:
        """The lengths so far; ValueError where no row was counted."""
        rows = int(self._lengths.sum())
        if not rows:
            raise ValueError("no row was counted; call update() with at least one")
        longest = int(np.flatnonzero(self._lengths)[-1])
        filled = rows - int(self._lengths[0])
        return RowLengths(
            rows=rows,
            empty=float(self._lengths[0] / rows),
            width=self._width,
            longest=longest,
            at_longest=float(self._lengths[longest] / filled) if filled else 0.0,
            counted=self._counted,
            lengths=self._lengths.copy(),
        )

    def _add(self, lengths: NDArray[np.int64]) -> None:
        longer = max(len(lengths), len(self._lengths))
        padded = [np.pad(each, (0, longer - len(each))) for each in (self._lengths, lengths)]
        self._lengths = np.asarray(padded[0] + padded[1], np.int64)


@dataclass(frozen=True)
class TrainedLengths:
    """Lengths of both splits. source: where those of the training rows come from, "predictions/train" or "steps".

    declared: the limit that the manifest names. cut: share of training rows that the user's own count says were cut.
    """

    train: RowLengths
    held_out: RowLengths
    source: str
    declared: int | None
    cut: float | None
