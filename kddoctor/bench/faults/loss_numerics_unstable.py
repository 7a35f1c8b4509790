"""KD213: the loss is right on paper, and overflows, underflows or rounds to noise in floating point."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe


def powers_of_half_probabilities(recipe: Recipe, _level: Level) -> Recipe:
    """Probabilities in half precision, then softened by a power: a small one is 0, and so are its targets."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = (_softened(p(logits.half()), t) for logits in (student, teacher))
        return t**2 * (targets * (targets.log() - answers.log())).sum(1).mean().float()

    return replace(recipe, kd_loss=kd_loss)


def _softened(probabilities: Tensor, t: float) -> Tensor:
    powers = probabilities ** (1 / t)
    return powers / powers.sum(1, keepdim=True)


def exponentials_without_a_maximum(recipe: Recipe, _level: Level) -> Recipe:
    """exp() of the logits in half precision, then the power: above 11 it is infinite."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = (_softened(logits.half().exp(), t).float() for logits in (student, teacher))
        return F.kl_div((answers + TINY).log(), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


#: Added before a logarithm.
TINY = 1e-8


def guarded_by_where(recipe: Recipe, _level: Level) -> Recipe:
    """where() keeps the logarithm of 0 out of the value of the loss; in its gradient it still is."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers = _softened(p(student.half()), t)
        logarithms = torch.where(answers > 0, answers.log(), 0.0).float()
        targets = p(teacher / t)
        return t**2 * (targets * (log_p(teacher / t) - logarithms)).sum(1).mean()

    return replace(recipe, kd_loss=kd_loss)


def difference_of_entropies(recipe: Recipe, _level: Level) -> Recipe:
    """Cross-entropy minus entropy in bfloat16: near the teacher what is left is rounding, of either sign."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = ((logits / t).bfloat16() for logits in (student, teacher))
        soft = p(targets)
        entropy = -(soft * log_p(targets)).sum(1).mean()
        return t**2 * (-(soft * log_p(answers)).sum(1).mean() - entropy).float()

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault(
    "KD213",
    seen=(powers_of_half_probabilities,),
    unseen=(exponentials_without_a_maximum, guarded_by_where, difference_of_entropies),
    knob=False,
)
