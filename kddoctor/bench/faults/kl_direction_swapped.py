"""KD204: teacher and student are exchanged in the divergence."""

from dataclasses import replace

from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe


def arguments_exchanged(recipe: Recipe, _level: Level) -> Recipe:
    """loss(teacher, student, T) where the function takes (student, teacher, T)."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return kl(teacher, student, t)

    return replace(recipe, kd_loss=kd_loss)


def distributions_exchanged(recipe: Recipe, _level: Level) -> Recipe:
    """torch.distributions takes its arguments in the other order than kl_div does."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        of_student, of_teacher = Categorical(logits=student / t), Categorical(logits=teacher / t)
        divergence: Tensor = kl_divergence(of_student, of_teacher)
        return divergence.mean() * t**2

    return replace(recipe, kd_loss=kd_loss)


def cross_entropy_exchanged(recipe: Recipe, _level: Level) -> Recipe:
    """A cross-entropy between two distributions, its arguments exchanged."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return -(p(student / t) * log_p(teacher / t)).sum(-1).mean() * t**2

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault(
    "KD204",
    seen=(arguments_exchanged,),
    unseen=(distributions_exchanged, cross_entropy_exchanged),
    knob=False,
)
