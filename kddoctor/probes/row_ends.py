"""Whether the rows that are learnt end in the token that says so."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.chunks import IGNORED_LABEL


@dataclass(frozen=True)
class RowEnds:
    """rows: with a counted label and shorter than the longest, which a limit may have cut. ended: share of them whose
    last counted label is the end token. eos, teacher_eos: its number for both models, None where not recorded.
    anywhere: whether the end token is a counted label of any row at all.
    """

    rows: int
    ended: float
    eos: int
    teacher_eos: int | None
    anywhere: bool


class RowEndsProbe:
    """Accumulates :class:`RowEnds`. longest: length from which a row may have been cut."""

    def __init__(self, eos: int, longest: int, teacher_eos: int | None = None) -> None:
        self.eos, self.teacher_eos, self.longest = eos, teacher_eos, longest
        self.rows = self.ended = self.seen = 0

    def update(self, labels: NDArray[np.integer]) -> None:
        """Count rows: labels [n, L]."""
        labels = np.asarray(labels)
        counts = labels != IGNORED_LABEL
        lengths = np.where(counts, np.arange(1, labels.shape[1] + 1), 0).max(axis=1, initial=0)
        whole = (lengths > 0) & (lengths < self.longest)
        last = labels[np.arange(len(labels)), np.maximum(lengths - 1, 0)]
        self.rows += int(whole.sum())
        self.ended += int((whole & (last == self.eos)).sum())
        self.seen += int((labels == self.eos).sum())

    def merge(self, other: "RowEndsProbe") -> None:
        """Add another worker's rows."""
        self.rows += other.rows
        self.ended += other.ended
        self.seen += other.seen

    def compute(self) -> RowEnds:
        """Share over all rows; nan where no row is shorter than the longest."""
        share = self.ended / self.rows if self.rows else float("nan")
        return RowEnds(self.rows, share, self.eos, self.teacher_eos, self.seen > 0)
