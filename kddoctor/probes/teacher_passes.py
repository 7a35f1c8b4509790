"""Two looks at the same teacher on the same inputs: what the loss used, and an evaluation pass beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class TeacherPasses:
    """How the teacher's logits in the loop differ from a repeated pass in evaluation mode.

    relative_difference: mean |Δz| / mean |z|. agreement: share of equal argmax. correlation: of the centred
    logits. rows: compared rows; 0 where no second pass was recorded (then the rest is nan). teacher_training:
    what the recorder saw in the live process, None where it did not look. same_inputs: share of recorded steps
    at which teacher and student saw identical tensors, None where unknown. first_difference: relative_difference at
    the first step alone.
    """

    rows: int
    relative_difference: float
    agreement: float
    correlation: float
    teacher_training: bool | None
    same_inputs: float | None
    first_difference: float = float("nan")


class TeacherPassesProbe:
    """Accumulates pairs of logits."""

    def __init__(self, teacher_training: bool | None = None, same_inputs: float | None = None) -> None:
        self.teacher_training = teacher_training
        self.same_inputs = same_inputs
        self.sums = np.zeros(7)
        self.rows = 0
        self.first = float("nan")

    def update(self, in_loop: Floats, again: Floats) -> None:
        """Add rows, [..., C] (or [...] for one logit), of both passes."""
        a = np.asarray(in_loop, np.float64)
        b = np.asarray(again, np.float64)
        a = a.reshape(-1, a.shape[-1]) if a.ndim > 1 else a[:, None]
        b = b.reshape(a.shape)
        same = (a.argmax(1) == b.argmax(1)) if a.shape[1] > 1 else ((a > 0) == (b > 0))[:, 0]
        # A constant added to a row changes no softmax, so rows are compared about their mean.
        p, q = (x - x.mean(1, keepdims=True) if x.shape[1] > 1 else x for x in (a, b))
        difference = np.abs(p - q).sum()
        if not self.rows:
            self.first = float(difference / max(np.abs(q).sum(), 1e-300))
        sums = [difference, np.abs(q).sum(), same.sum(), (p * q).sum(), (p * p).sum(), (q * q).sum(), a.size]
        self.sums += np.array(sums, np.float64)
        self.rows += len(a)

    def merge(self, other: "TeacherPassesProbe") -> None:
        """Add another worker's rows."""
        if not self.rows:
            self.first = other.first
        self.sums += other.sums
        self.rows += other.rows

    def compute(self) -> TeacherPasses:
        """Differences over all rows; nan where there were none."""
        difference, size, same, cross, left, right, _ = self.sums
        some = self.rows > 0
        norm = float(np.sqrt(left * right))
        return TeacherPasses(
            rows=self.rows,
            relative_difference=float(difference / max(size, 1e-300)) if some else float("nan"),
            agreement=float(same / self.rows) if some else float("nan"),
            correlation=float(cross / norm) if some and norm > 0 else float("nan"),
            teacher_training=self.teacher_training,
            same_inputs=self.same_inputs,
            first_difference=self.first,
        )
