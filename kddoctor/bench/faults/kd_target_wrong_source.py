"""KD209: the distillation term compares something else than the teacher with the student."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe


def teacher_against_itself(recipe: Recipe, _level: Level) -> Recipe:
    """Both operands are made from the teacher's logits."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        soft_student, soft_teacher = log_p(teacher / t), p(teacher / t)
        return F.kl_div(soft_student, soft_teacher, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def student_against_itself(recipe: Recipe, _level: Level) -> Recipe:
    """The targets are softened from the variable that the student's logits were put into."""

    def kd_loss(student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        with torch.no_grad():
            targets = p(student / t)
        return F.kl_div(log_p(student / t), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


class _Collated:
    """What a collator hands to the loss: the labels under the name of the targets."""

    def __init__(self, recipe: Recipe) -> None:
        self._rows = recipe.rows

    def rows(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As the recipe makes them; the labels are kept."""
        rows, truth = self._rows(logits, labels)
        self._labels = truth
        return rows, truth

    def kd_loss(self, student: Tensor, _teacher: Tensor, _t: float) -> Tensor:
        """Cross-entropy with the labels as distributions."""
        targets = F.one_hot(self._labels, student.shape[1]).to(student.dtype)
        return -(targets * log_p(student)).sum(1).mean()


def labels_for_targets(recipe: Recipe, _level: Level) -> Recipe:
    """The collator's "targets" are the labels, one-hot; the soft ones are under another key."""
    collated = _Collated(recipe)
    return replace(recipe, rows=collated.rows, kd_loss=collated.kd_loss)


FAULT = Fault("KD209", seen=(teacher_against_itself,), unseen=(student_against_itself, labels_for_targets), knob=False)
