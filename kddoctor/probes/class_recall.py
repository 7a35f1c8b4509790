"""Each class by itself: who finds its rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassRecall:
    """Rows of each class, all [C], and how many of them each model gets right.

    student_only, baseline_only: rows that one of the two gets right and the other does not (McNemar 1947); these and
    baseline are None without a labels-only student.
    """

    rows: Counts
    teacher: Counts
    student: Counts
    baseline: Counts | None
    student_only: Counts | None
    baseline_only: Counts | None


class ClassRecallProbe:
    """Accumulates :class:`ClassRecall`."""

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((6, num_classes), np.int64)
        self.with_baseline = False

    def update(self, teacher: Floats, student: Floats, labels: Counts, baseline: Floats | None = None) -> None:
        """Add rows: logits [n, C] of each model, labels [n]."""
        right = [logits.argmax(1) == labels for logits in (teacher, student)]
        chosen = [np.ones(len(labels), bool), *right]
        if baseline is not None:
            alone = baseline.argmax(1) == labels
            chosen += [alone, right[1] & ~alone, alone & ~right[1]]
            self.with_baseline = True
        for row, rows in enumerate(chosen):
            self.counts[row] += np.bincount(labels[rows], minlength=self.counts.shape[1])

    def merge(self, other: "ClassRecallProbe") -> None:
        """Add another worker's rows."""
        self.counts += other.counts
        self.with_baseline |= other.with_baseline

    def compute(self) -> ClassRecall:
        """The counts so far."""
        counts = [row.copy() for row in self.counts]
        twin = counts[3:] if self.with_baseline else [None, None, None]
        return ClassRecall(*counts[:3], *twin)
