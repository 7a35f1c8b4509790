"""How often the models agree on another class than the label, where they are surest of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

#: Bins of −log(1 − p), p being the teacher's largest probability, and the largest value told apart.
BINS, LARGEST = 400, 20.0
#: Share of the rows that counts as those the teacher is surest of.
SUREST = 0.5


@dataclass(frozen=True)
class LabelDoubt:
    """Labels against the models' answers, at T = 1.

    n: rows. doubted: share on which the teacher chooses another class; agreed: and the student the same other class.
    The sure_* ones are about the half of the rows of which the teacher is surest: sure_doubted and sure_agreed as
    above, sure_stated: the share of errors that the teacher's own probabilities concede there, the mean of 1 − p.
    student_with_teacher, student_with_labels: shares of equal choices; baseline_*: the same of the labels-only student,
    None without one. by_class: [C] share of each label class that is doubted, NaN for a class without rows.

    Source: Northcutt et al. 2021, "Confident learning".
    """

    n: int
    doubted: float
    agreed: float
    sure_n: int
    sure_doubted: float
    sure_agreed: float
    sure_stated: float
    student_with_teacher: float
    student_with_labels: float
    baseline_with_teacher: float | None
    baseline_with_labels: float | None
    by_class: NDArray[np.float64]


class LabelDoubtProbe:
    """Accumulates :class:`LabelDoubt`; memory does not depend on the number of rows."""

    def __init__(self, num_classes: int) -> None:
        self.bins = np.zeros((4, BINS))  # rows, doubted, agreed, stated
        self.pairs = np.zeros(4)  # student with teacher, with labels, baseline with teacher, with labels
        self.classes = np.zeros((2, num_classes))  # rows, doubted
        self.with_baseline = False

    def update(
        self, teacher: Floats, student: Floats, labels: NDArray[np.int64], baseline: Floats | None = None
    ) -> None:
        """Add rows: logits [n, C] of each model, labels [n]."""
        if not len(labels):
            return
        choice, other = teacher.argmax(1), student.argmax(1)
        rest = _rest(teacher)
        place = np.clip((-np.log(np.maximum(rest, np.exp(-LARGEST))) / LARGEST * BINS).astype(int), 0, BINS - 1)
        doubted = choice != labels
        for row, weights in enumerate((None, doubted, doubted & (choice == other), rest)):
            self.bins[row] += np.bincount(place, weights, BINS)
        self.pairs[:2] += (other == choice).sum(), (other == labels).sum()
        if baseline is not None:
            alone = baseline.argmax(1)
            self.pairs[2:] += (alone == choice).sum(), (alone == labels).sum()
            self.with_baseline = True
        for row, weights in enumerate((None, doubted)):
            self.classes[row] += np.bincount(labels, weights, self.classes.shape[1])

    def merge(self, other: "LabelDoubtProbe") -> None:
        """Add another worker's rows."""
        self.bins += other.bins
        self.pairs += other.pairs
        self.classes += other.classes
        self.with_baseline |= other.with_baseline

    def compute(self) -> LabelDoubt:
        """The measurements so far; ValueError where no row was counted."""
        n, doubted, agreed, _ = self.bins.sum(axis=1)
        if not n:
            raise ValueError("no labelled row was counted; call update() with at least one")
        # From the surest bin down, until half of the rows are there.
        downward = self.bins[:, ::-1].cumsum(axis=1)
        at = int(np.argmax(downward[0] >= SUREST * n))
        sure_n, sure_doubted, sure_agreed, sure_stated = downward[:, at]
        rows = self.classes[0]
        return LabelDoubt(
            n=int(n),
            doubted=doubted / n,
            agreed=agreed / n,
            sure_n=int(sure_n),
            sure_doubted=sure_doubted / sure_n,
            sure_agreed=sure_agreed / sure_n,
            sure_stated=sure_stated / sure_n,
            student_with_teacher=self.pairs[0] / n,
            student_with_labels=self.pairs[1] / n,
            baseline_with_teacher=self.pairs[2] / n if self.with_baseline else None,
            baseline_with_labels=self.pairs[3] / n if self.with_baseline else None,
            by_class=self.classes[1] / np.where(rows > 0, rows, np.nan),
        )


def _rest(logits: Floats) -> NDArray[np.float64]:
    """[n] what the softmax leaves to all classes but the first choice; exact where that is tiny."""
    z = logits.astype(np.float64)
    weights = np.exp(z - z.max(axis=1, keepdims=True))
    best = weights.argmax(1)
    total = weights.sum(axis=1)
    weights[np.arange(len(z)), best] = 0
    return np.asarray(weights.sum(axis=1) / total)
