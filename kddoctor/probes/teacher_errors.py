"""The teacher's wrong answers: which they are, how sure it is of them, and whether the student repeats them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Above this many classes no table of confusions is kept.
MAX_TABLE_CLASSES = 2000
#: A teacher is sure from this probability on (taxonomy).
CONFIDENT = 0.9
#: Errors of a class from which their direction is read.
ENOUGH_ERRORS = 5


@dataclass(frozen=True)
class TeacherErrors:
    """One split. rows, wrong: counts. confident_wrong: share of wrong answers among those of probability above 0.9.

    repeated, twin_repeated: of the teacher's wrong answers, the share that the student, and its labels-only twin, give
    too; None without such a model. directed: share of errors that go to their class's most frequent wrong answer, over
    the ``directed_classes`` classes with at least five errors, ``directed_rows`` errors in all; distinct: different
    such answers over those classes; returned: share of those whose own most frequent wrong answer is the first class.
    """

    rows: int
    wrong: int
    confident_rows: int
    confident_wrong: float
    repeated: float | None
    twin_repeated: float | None
    directed: float | None
    directed_classes: int
    directed_rows: int
    distinct: float
    returned: float

    @property
    def accuracy(self) -> float:
        """Share of rows that the teacher has right."""
        return 1 - self.wrong / self.rows


@dataclass(frozen=True)
class TeacherErrorsBySplit:
    """On rows of the transfer set, which the teacher has probably learned, and on held-out ones."""

    train: TeacherErrors | None
    held_out: TeacherErrors | None


class TeacherErrorsProbe:
    """Accumulates :class:`TeacherErrors`."""

    def __init__(self, num_classes: int) -> None:
        self._rows = self._wrong = self._sure = self._sure_wrong = 0
        self._student = self._twin = 0
        self._models = [False, False]
        self._table = np.zeros((num_classes,) * 2, np.int64) if num_classes <= MAX_TABLE_CLASSES else None

    def update(
        self,
        teacher_logits: NDArray[np.floating],
        labels: NDArray[np.int64],
        student_logits: NDArray[np.floating] | None = None,
        baseline_logits: NDArray[np.floating] | None = None,
    ) -> None:
        """Count a chunk: logits [n, C], finite, and labels [n]."""
        top = teacher_logits.argmax(axis=1)
        wrong = top != labels
        shifted = teacher_logits - teacher_logits.max(axis=1, keepdims=True)
        sure = 1 / np.exp(shifted.astype(np.float64)).sum(axis=1) > CONFIDENT
        self._rows += len(labels)
        self._wrong += int(wrong.sum())
        self._sure += int(sure.sum())
        self._sure_wrong += int((sure & wrong).sum())
        if student_logits is not None:
            self._models[0] = True
            self._student += int((student_logits.argmax(axis=1) == top)[wrong].sum())
        if baseline_logits is not None:
            self._models[1] = True
            self._twin += int((baseline_logits.argmax(axis=1) == top)[wrong].sum())
        if self._table is not None:
            np.add.at(self._table, (labels[wrong], top[wrong]), 1)

    def merge(self, other: "TeacherErrorsProbe") -> None:
        """Add another worker's rows."""
        for name in ("_rows", "_wrong", "_sure", "_sure_wrong", "_student", "_twin"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._models = [a or b for a, b in zip(self._models, other._models, strict=True)]
        if self._table is not None and other._table is not None:
            self._table += other._table

    def compute(self) -> TeacherErrors | None:
        """The measurements so far; None where no row was counted."""
        if not self._rows:
            return None
        directed, classes, rows, distinct, returned = self._direction()
        return TeacherErrors(
            rows=self._rows,
            wrong=self._wrong,
            confident_rows=self._sure,
            confident_wrong=self._sure_wrong / max(1, self._sure),
            repeated=self._student / self._wrong if self._models[0] and self._wrong else None,
            twin_repeated=self._twin / self._wrong if self._models[1] and self._wrong else None,
            directed=directed,
            directed_classes=classes,
            directed_rows=rows,
            distinct=distinct,
            returned=returned,
        )

    def _direction(self) -> tuple[float | None, int, int, float, float]:
        if self._table is None:
            return None, 0, 0, 0.0, 0.0
        read = np.flatnonzero(self._table.sum(axis=1) >= ENOUGH_ERRORS)
        if not len(read):
            return None, 0, 0, 0.0, 0.0
        favourite = {int(k): int(self._table[k].argmax()) for k in read}
        total = int(self._table[read].sum())
        returned = sum(favourite.get(to) == k for k, to in favourite.items()) / len(read)
        first = int(self._table[read].max(axis=1).sum())
        return first / total, len(read), total, len(set(favourite.values())) / len(read), returned
