"""The rows on which the student is furthest from the teacher."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.row_outputs import RowOutputs


@dataclass(frozen=True)
class ExampleGap:
    """One row. index: its position among all rows given. kl: KL(teacher ‖ student) in nats at the probe's T.

    Confidences are the model's largest probability at T = 1; student_loss is its cross-entropy in nats.
    """

    index: int
    kl: float
    teacher_class: int
    student_class: int
    label: int
    teacher_confidence: float
    student_confidence: float
    student_loss: float


class GapRanking:
    """Keeps the rows of the largest KL, at most ``length``; of equal ones, those that came first."""

    def __init__(self, length: int) -> None:
        if length < 0:
            raise ValueError(f"worst is {length}; expected at least 0")
        self._length = length
        self._gaps: list[ExampleGap] = []

    @property
    def gaps(self) -> tuple[ExampleGap, ...]:
        """Largest KL first, then by index."""
        return tuple(self._gaps)

    def update(
        self,
        kl: NDArray[np.float64],
        teacher: RowOutputs,
        student: RowOutputs,
        labels: NDArray[np.int64],
        index: NDArray[np.int64],
    ) -> None:
        """Rank a block: kl, labels and index are [n]; outputs of the same rows."""
        leaders = np.lexsort((index, -kl))[: self._length]
        self._rank(
            [
                ExampleGap(
                    index=int(index[row]),
                    kl=float(kl[row]),
                    teacher_class=int(teacher.predicted[row]),
                    student_class=int(student.predicted[row]),
                    label=int(labels[row]),
                    teacher_confidence=float(teacher.confidence[row]),
                    student_confidence=float(student.confidence[row]),
                    student_loss=float(student.loss[row]),
                )
                for row in leaders
            ]
        )

    def merge(self, other: "GapRanking", offset: int) -> None:
        """Rank another worker's rows, whose positions start at ``offset``."""
        self._rank([replace(gap, index=gap.index + offset) for gap in other._gaps])

    def _rank(self, candidates: list[ExampleGap]) -> None:
        ranked = sorted(self._gaps + candidates, key=lambda gap: (-gap.kl, gap.index))
        self._gaps = ranked[: self._length]
