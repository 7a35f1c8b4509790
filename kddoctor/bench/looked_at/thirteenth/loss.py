"""Mistakes in the loss, one way of each."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD201 ---------------------------------------------------------------------------------------------------------------


def kldivloss_as_constructed_by_default(recipe: Recipe, _level: Level) -> Recipe:
    """Built ``nn.KLDivLoss()`` without a word on its reduction."""
    criterion = nn.KLDivLoss()

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        loss: Tensor = criterion(log_p(student / temperature), p(teacher / temperature))
        return loss * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD202 ---------------------------------------------------------------------------------------------------------------


def softened_kl_left_unscaled(recipe: Recipe, _level: Level) -> Recipe:
    """Divided both logits by the temperature and never multiplied the divergence by its square."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return F.kl_div(log_p(student / temperature), p(teacher / temperature), reduction="batchmean")

    return replace(recipe, kd_loss=kd_loss)


# KD203 ---------------------------------------------------------------------------------------------------------------


def softmax_on_both_sides_of_kl_div(recipe: Recipe, _level: Level) -> Recipe:
    """Gave ``F.kl_div`` the student's probabilities, as it takes the teacher's."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        soft_student, soft_teacher = p(student / temperature), p(teacher / temperature)
        return F.kl_div(soft_student, soft_teacher, reduction="batchmean") * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD204 ---------------------------------------------------------------------------------------------------------------


def teacher_given_as_kl_div_input(recipe: Recipe, _level: Level) -> Recipe:
    """Read kl_div(a, b) as KL(a || b), and so put the teacher first and the student second."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        divergence = F.kl_div(log_p(teacher / temperature), p(student / temperature), reduction="batchmean")
        return divergence * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD205 ---------------------------------------------------------------------------------------------------------------


def teacher_probabilities_softened_again(recipe: Recipe, _level: Level) -> Recipe:
    """Turned the teacher's logits into probabilities in the loop, and handed these to a loss that softens logits."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        return torch.sigmoid(logits) if logits.ndim == 1 else p(logits)

    return replace(recipe, targets=targets)


# KD206 ---------------------------------------------------------------------------------------------------------------


def softmax_with_dim_zero(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote ``dim=0`` where the classes are the last dimension."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        log_student = F.log_softmax(student / temperature, dim=0)
        soft_teacher = F.softmax(teacher / temperature, dim=0)
        return F.kl_div(log_student, soft_teacher, reduction="batchmean") * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD207 ---------------------------------------------------------------------------------------------------------------


def alpha_on_the_hard_labels(recipe: Recipe, _level: Level) -> Recipe:
    """Took alpha for the weight of the hard labels."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * ce + (1 - alpha) * kd

    return replace(recipe, mix=mix)


# KD208 ---------------------------------------------------------------------------------------------------------------

#: The distillation term taken for an auxiliary loss, with weights that are usual for those.
_AUXILIARY = {Level.MILD: 0.1, Level.MODERATE: 0.03, Level.SEVERE: 0.005}


def distillation_weighted_like_an_auxiliary_loss(recipe: Recipe, level: Level) -> Recipe:
    """Chose a small alpha, so that distillation "only helps a little" beside the labels."""
    return replace(recipe, alpha=_AUXILIARY[level])


# KD209 ---------------------------------------------------------------------------------------------------------------


def teacher_logits_pasted_on_both_sides(recipe: Recipe, _level: Level) -> Recipe:
    """Copied the teacher's line for the student and forgot to change the variable."""

    def kd_loss(_student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        soft_targets = p(teacher / temperature)
        log_probabilities = log_p(teacher / temperature)
        return F.kl_div(log_probabilities, soft_targets, reduction="batchmean") * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD210 ---------------------------------------------------------------------------------------------------------------

#: What beta = 0 is clamped to.
_LOWEST_BETA = {Level.MILD: 0.03, Level.MODERATE: 0.01, Level.SEVERE: 0.001}


def beta_of_zero_clamped_for_the_logarithm(recipe: Recipe, level: Level) -> Recipe:
    """Wanted forward KL from a generalised JSD by beta = 0, and clamped beta to keep its logarithm finite."""
    beta = torch.tensor(0.0).clamp(min=_LOWEST_BETA[level])

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        log_student, log_teacher = log_p(student / temperature), log_p(teacher / temperature)
        mixture = torch.logaddexp(log_student + torch.log1p(-beta), log_teacher + torch.log(beta))
        to_teacher = F.kl_div(mixture, log_teacher, reduction="batchmean", log_target=True)
        to_student = F.kl_div(mixture, log_student, reduction="batchmean", log_target=True)
        return (beta * to_teacher + (1 - beta) * to_student) * temperature**2

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


# KD211 ---------------------------------------------------------------------------------------------------------------


def only_the_teacher_is_softened(recipe: Recipe, _level: Level) -> Recipe:
    """Prepared soft targets at the temperature, and compared them with the student's plain log-probabilities."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        soft_targets = p(teacher / temperature)
        return F.kl_div(log_p(student), soft_targets, reduction="batchmean") * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD212 ---------------------------------------------------------------------------------------------------------------

#: Processes of the job.
_WORLD_SIZE = {Level.MILD: 4, Level.MODERATE: 16, Level.SEVERE: 128}


def gathered_mean_of_kd_sent_backward(recipe: Recipe, level: Level) -> Recipe:
    """Gathered the distillation term from all processes for the log, and put that mean into the loss.

    DDP averages the gradients once more, so this term's is divided by the number of processes twice.
    """

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return _gathered(recipe.kd_loss(student, teacher, temperature), _WORLD_SIZE[level]).mean()

    return replace(recipe, kd_loss=kd_loss)


def _gathered(value: Tensor, world_size: int) -> Tensor:
    """What an all-gather returns: only a process's own value has a graph. Every process has the same rows here."""
    return torch.stack([value, *[value.detach()] * (world_size - 1)])


# KD213 ---------------------------------------------------------------------------------------------------------------

#: Enough in single precision; in half precision it is zero.
_EPSILON = 1e-8


def epsilon_lost_in_half_precision(recipe: Recipe, _level: Level) -> Recipe:
    """Moved the loss, one divergence of probabilities for soft and hard targets, to half precision with its epsilon."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        t = temperature
        return _divergence(p(teacher.half() / t), p(student.half() / t)).float() * t**2

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        one_hot = F.one_hot(labels, student.shape[-1]).half()
        return _divergence(one_hot, p(student.half())).float()

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


def _divergence(target: Tensor, output: Tensor) -> Tensor:
    return (target * ((target + _EPSILON) / (output + _EPSILON)).log()).sum(-1).mean()


# KD214 ---------------------------------------------------------------------------------------------------------------


def softmax_kl_on_a_single_score(recipe: Recipe, _level: Level) -> Recipe:
    """Took the softmax divergence of a classifier for a head with one output, whose softmax is always 1."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return logits.unsqueeze(1), labels

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(student.squeeze(1), labels.float())

    return replace(recipe, rows=rows, ce_loss=ce_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (kldivloss_as_constructed_by_default,),
    "KD202": (softened_kl_left_unscaled,),
    "KD203": (softmax_on_both_sides_of_kl_div,),
    "KD204": (teacher_given_as_kl_div_input,),
    "KD205": (teacher_probabilities_softened_again,),
    "KD206": (softmax_with_dim_zero,),
    "KD207": (alpha_on_the_hard_labels,),
    "KD208": (distillation_weighted_like_an_auxiliary_loss,),
    "KD209": (teacher_logits_pasted_on_both_sides,),
    "KD210": (beta_of_zero_clamped_for_the_logarithm,),
    "KD211": (only_the_teacher_is_softened,),
    "KD212": (gathered_mean_of_kd_sent_backward,),
    "KD213": (epsilon_lost_in_half_precision,),
    "KD214": (softmax_kl_on_a_single_score,),
}
