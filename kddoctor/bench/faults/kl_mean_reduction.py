"""KD201: the divergence is averaged over the classes too."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe


def default_reduction(recipe: Recipe, _level: Level) -> Recipe:
    """kl_div with reduction="mean", as it is where nobody names one."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="none").mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


def class_mean_by_hand(recipe: Recipe, _level: Level) -> Recipe:
    """The sum over classes written as a mean, then a mean over rows."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        target = p(teacher / t)
        return (target * (log_p(teacher / t) - log_p(student / t))).mean(1).mean(0).mul(t**2)

    return replace(recipe, kd_loss=kd_loss)


def mean_of_soft_cross_entropies(recipe: Recipe, _level: Level) -> Recipe:
    """A cross-entropy with soft targets in one line, and one mean over everything."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return -torch.mean(p(teacher / t) * log_p(student / t)) * t**2

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault(
    "KD201",
    seen=(default_reduction,),
    unseen=(class_mean_by_hand, mean_of_soft_cross_entropies),
    knob=False,
)
