"""KD208: the distillation term is far too strong or too weak."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe

#: A weight from another set-up, by level.
STRONGER = {Level.MILD: 7.0, Level.MODERATE: 30.0, Level.SEVERE: 300.0}
WEAKER = {Level.MILD: 0.03, Level.MODERATE: 0.007, Level.SEVERE: 0.0015}


def weight_of_another_setup(recipe: Recipe, level: Level) -> Recipe:
    """The weight was tuned for a loss that was averaged otherwise."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return STRONGER[level] * kl(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


def summed_over_the_batch(recipe: Recipe, _level: Level) -> Recipe:
    """A sum over rows beside a mean over rows."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="sum") * t * t

    return replace(recipe, kd_loss=kd_loss)


def feature_weight_reused(recipe: Recipe, level: Level) -> Recipe:
    """A weight that belongs to a feature loss makes the term inert."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * (WEAKER[level] * kd) + (1 - alpha) * ce

    return replace(recipe, mix=mix)


FAULT = Fault("KD208", seen=(weight_of_another_setup,), unseen=(summed_over_the_batch, feature_weight_reused))
