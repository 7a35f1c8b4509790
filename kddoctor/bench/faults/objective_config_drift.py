"""KD211: another objective runs than the one that is declared."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import kl, log_p, mse, p
from kddoctor.bench.recipe import Recipe


def temperature_on_one_side(recipe: Recipe, _level: Level) -> Recipe:
    """Only the student's logits are divided."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def default_temperature(recipe: Recipe, _level: Level) -> Recipe:
    """The temperature never reaches the loss, which uses its own default of 1."""

    def kd_loss(student: Tensor, teacher: Tensor, _t: float) -> Tensor:
        return kl(student, teacher, 1.0)

    return replace(recipe, kd_loss=kd_loss)


def fused_default_form(recipe: Recipe, _level: Level) -> Recipe:
    """A fused kernel falls back to squared error."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return mse(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault("KD211", seen=(temperature_on_one_side,), unseen=(default_temperature, fused_default_form), knob=False)
