"""KD306: only the teacher's most probable classes are kept, and what is left is no distribution of the teacher's."""

from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import kl, log_p
from kddoctor.bench.recipe import Recipe

#: Share of the classes that is kept.
KEPT = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.05}


def _top(teacher: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    top = teacher.topk(max(2 if level < Level.SEVERE else 1, round(KEPT[level] * teacher.shape[1])), dim=1)
    return top.values, top.indices


def renormalised(recipe: Recipe, level: Level) -> Recipe:
    """Softmax over the logits that were kept, as if there were no others: over-confident."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        values, classes = _top(teacher, level)
        only = torch.full_like(teacher, -torch.inf).scatter(1, classes, values)
        return kl(student, only, t)

    return replace(recipe, kd_loss=kd_loss)


def tail_ignored(recipe: Recipe, level: Level) -> Recipe:
    """The sum of the divergence stops after the classes kept; where that makes it negative it is clamped at 0."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        _, classes = _top(teacher, level)
        answers, targets = (log_p(logits / t).gather(1, classes) for logits in (student, teacher))
        each = (targets.exp() * (targets - answers)).sum(1)
        return t**2 * each.clamp_min(0).mean()

    return replace(recipe, kd_loss=kd_loss)


def scattered_into_zeros(recipe: Recipe, level: Level) -> Recipe:
    """A sparse cache of logits is scattered into zeros: classes that were left out may beat those that were kept."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        values, classes = _top(teacher, level)
        return kl(student, torch.zeros_like(teacher).scatter(1, classes, values), t)

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault(
    "KD306",
    seen=(renormalised,),
    unseen=(tail_ignored, scattered_into_zeros),
    kinds=("multiclass", "tokens"),
)
