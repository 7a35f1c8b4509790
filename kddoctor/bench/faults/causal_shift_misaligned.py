"""KD803: logits or labels are one position off."""

from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Batch, Session

#: Share of the rows that are padded at the other end, so that the teacher's positions are shifted in them.
SHIFTED = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def teacher_shifted_once_more(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits are sliced as labels are, although both models foretell the same token at a position."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        shifted = torch.cat([logits[:, 1:], logits[:, -1:]], dim=1)
        concerned = batch.rows % 10 < 10 * SHIFTED[level]
        return torch.where(concerned[:, None, None], shifted, logits)

    return replace(recipe, targets=targets)


def labels_shifted_twice(recipe: Recipe, _level: Level) -> Recipe:
    """The data set shifts the labels, and the loss does so again, as it would for a library's model."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return class_rows(logits[:, :-1], labels[:, 1:])

    return replace(recipe, rows=rows)


def teacher_late_by_one(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's prompt begins with one more token than the student's, so its logits lie one position back."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        late = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
        concerned = batch.rows % 10 < 10 * SHIFTED[level]
        return torch.where(concerned[:, None, None], late, logits)

    return replace(recipe, targets=targets)


FAULT = Fault(
    "KD803",
    seen=(teacher_shifted_once_more,),
    unseen=(labels_shifted_twice, teacher_late_by_one),
    kinds=("tokens",),
)
