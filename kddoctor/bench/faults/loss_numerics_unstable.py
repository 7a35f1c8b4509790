"""KD213: the loss is right on paper, and underflows, divides by nothing or rounds to noise in floating point."""

from dataclasses import replace

from torch import Tensor

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


def mean_over_no_rows(recipe: Recipe, _level: Level) -> Recipe:
    """Only rows count on which the two disagree; the mean over none of them, once the student is good, is 0 / 0."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        each = (p(teacher / t) * (log_p(teacher / t) - log_p(student / t))).sum(1)
        return t**2 * each[student.argmax(1) != teacher.argmax(1)].mean()

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
    unseen=(mean_over_no_rows, difference_of_entropies),
    knob=False,
)
