"""Synthetic batches on which a loss is called."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Rows of a batch, and batches of a set. The number of rows must differ from any usual number of classes.
ROWS = 7
BATCHES = 8
#: Standard deviation of synthetic logits: those of an ordinary classifier.
LOGIT_SCALE = 3.0
IGNORED = -100
SEED = 20150309


@dataclass(frozen=True)
class Batch:
    """student, teacher: [B, C] logits (tokens [B, L, V]) or [B, …] features. labels: [B] (tokens [B, L])."""

    student: Tensor
    teacher: Tensor
    labels: Tensor

    def to(self, dtype: torch.dtype) -> "Batch":
        """The same with both sides in another precision."""
        return replace(self, student=self.student.to(dtype), teacher=self.teacher.to(dtype))

    def twice(self) -> "Batch":
        """Every row twice: a mean over rows stays, a sum doubles."""
        return Batch(*(torch.cat([part, part]) for part in (self.student, self.teacher, self.labels)))

    def with_teacher(self, teacher: Tensor) -> "Batch":
        """The same with another teacher."""
        return replace(self, teacher=teacher)

    def with_labels(self, labels: Tensor) -> "Batch":
        """The same with other labels."""
        return replace(self, labels=labels)


@dataclass(frozen=True)
class Shapes:
    """student, teacher: shape of one row. classes: labels are below it."""

    student: tuple[int, ...]
    teacher: tuple[int, ...]
    classes: int
    features: bool


def batches(shapes: Shapes, dtype: torch.dtype, *, rows: int = ROWS, seed: int = SEED) -> Sequence[Batch]:
    """Independent random batches, the same for the same seed; the global random state is left alone."""
    random = torch.Generator().manual_seed(seed)

    def one() -> Batch:
        scale = 1.0 if shapes.features else LOGIT_SCALE
        student, teacher = (
            scale * torch.randn(rows, *shape, generator=random, dtype=torch.float64)
            for shape in (shapes.student, shapes.teacher)
        )
        return Batch(student, teacher, torch.randint(shapes.classes, (rows,), generator=random)).to(dtype)

    return [one() for _ in range(BATCHES)]


def other_labels(labels: Tensor, classes: int) -> Tensor:
    """Labels that differ from these in every row."""
    return (labels + 1 + labels % (classes - 1)) % classes


def other_teacher(batch: Batch) -> Batch:
    """The same student and labels with unrelated teacher outputs."""
    return batch.with_teacher(batch.teacher.roll(1, 0).flip(-1) * 1.3)
