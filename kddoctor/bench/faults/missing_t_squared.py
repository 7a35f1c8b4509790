"""KD202: the factor T² is missing."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe


def forgotten(recipe: Recipe, _level: Level) -> Recipe:
    """No factor at all."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean")

    return replace(recipe, kd_loss=kd_loss)


def once(recipe: Recipe, _level: Level) -> Recipe:
    """Multiplied by T, not by its square."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        target = p(teacher / t)
        return t * (target * (log_p(teacher / t) - log_p(student / t))).sum(-1).mean()

    return replace(recipe, kd_loss=kd_loss)


def soft_cross_entropy_without(recipe: Recipe, _level: Level) -> Recipe:
    """A cross-entropy with soft targets, taken from a code base that distils at T = 1."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.cross_entropy(student / t, p(teacher / t))

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault("KD202", seen=(forgotten,), unseen=(once, soft_cross_entropy_without), knob=False)
