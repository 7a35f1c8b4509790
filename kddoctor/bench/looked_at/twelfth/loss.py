"""Mistakes in the distillation loss: its form, its operands, its weight, its scale and its arithmetic."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import with_hint
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def log_target_divergence_with_default_reduction(recipe: Recipe, _level: Level) -> Recipe:
    """Took nn.KLDivLoss with log-probabilities on both sides, and left its reduction as it comes."""
    criterion = nn.KLDivLoss(log_target=True)

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        divergence: Tensor = criterion(log_p(student / temperature), log_p(teacher / temperature))
        return divergence * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def softened_divergence_left_at_its_own_scale(recipe: Recipe, _level: Level) -> Recipe:
    """Divided both logits by the temperature, and did not multiply the divergence by its square."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return F.kl_div(log_p(student / temperature), p(teacher / temperature), reduction="batchmean")

    return replace(recipe, kd_loss=kd_loss)


# KD203 ----------------------------------------------------------------------------------------------------------------


def softmax_of_both_models_into_kl_div(recipe: Recipe, _level: Level) -> Recipe:
    """Gave F.kl_div two distributions, as a divergence takes on paper, and not the logarithm of the first."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        soft_student, soft_teacher = p(student / temperature), p(teacher / temperature)
        return F.kl_div(soft_student, soft_teacher, reduction="batchmean") * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def kl_div_arguments_in_the_order_of_the_formula(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote KL(teacher ‖ student) as F.kl_div(teacher, student), whose first argument is the approximation."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        log_teacher, log_student = log_p(teacher / temperature), log_p(student / temperature)
        divergence = F.kl_div(log_teacher, log_student, reduction="batchmean", log_target=True)
        return divergence * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------


def soft_labels_made_in_the_loop_and_softened_again(recipe: Recipe, _level: Level) -> Recipe:
    """Turned the teacher's logits into soft labels in the loop, and called a loss that takes logits with them."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch) / recipe.temperature
        return logits.sigmoid() if logits.ndim == 1 else logits.softmax(dim=-1)

    return replace(recipe, targets=targets)


# KD206 ----------------------------------------------------------------------------------------------------------------


def both_softmaxes_over_the_first_axis(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote dim=0 in both softmaxes, so that each class is a distribution over the batch."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        log_student = F.log_softmax(student / temperature, dim=0)
        soft_teacher = F.softmax(teacher / temperature, dim=0)
        return F.kl_div(log_student, soft_teacher, reduction="batchmean") * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


def alpha_taken_for_the_weight_of_the_student_loss(recipe: Recipe, _level: Level) -> Recipe:
    """Combined the terms as the Keras example does, where alpha stands before the student's own loss."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * ce + (1 - alpha) * kd

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: Papers whose feature loss is of another size write tens to hundreds here.
_BORROWED_WEIGHTS = {Level.MILD: 10.0, Level.MODERATE: 30.0, Level.SEVERE: 100.0}


def feature_weight_borrowed_from_another_paper(recipe: Recipe, level: Level) -> Recipe:
    """Added a feature loss that is near 1 by itself, with the weight of a paper whose feature loss is tiny."""
    return with_hint(recipe, _BORROWED_WEIGHTS[level])


# KD209 ----------------------------------------------------------------------------------------------------------------


def students_logits_on_both_sides_of_the_divergence(recipe: Recipe, _level: Level) -> Recipe:
    """Copied the student's line of the loss for the teacher's, and did not change the variable in it."""

    def kd_loss(student: Tensor, _teacher: Tensor, temperature: float) -> Tensor:
        log_student = log_p(student / temperature)
        soft_teacher = p(student / temperature)
        return F.kl_div(log_student, soft_teacher, reduction="batchmean") * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

_ALMOST_FORWARD = {Level.MILD: 0.04, Level.MODERATE: 0.01, Level.SEVERE: 0.001}


def small_beta_meant_as_almost_forward_divergence(recipe: Recipe, level: Level) -> Recipe:
    """Set the beta of a generalised JSD near 0, having read that it becomes the forward divergence there."""
    beta = _ALMOST_FORWARD[level]

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        soft_student, soft_teacher = p(student / temperature), p(teacher / temperature)
        mixture = (beta * soft_teacher + (1 - beta) * soft_student).log()
        of_teacher = F.kl_div(mixture, soft_teacher, reduction="batchmean")
        of_student = F.kl_div(mixture, soft_student, reduction="batchmean")
        return (beta * of_teacher + (1 - beta) * of_student) * temperature**2

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


def only_the_teacher_softened(recipe: Recipe, _level: Level) -> Recipe:
    """Softened the teacher's logits alone, since the student is used at temperature 1."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return F.kl_div(log_p(student), p(teacher / temperature), reduction="batchmean") * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

_PROCESSES = {Level.MILD: 4, Level.MODERATE: 16, Level.SEVERE: 64}


def global_row_count_and_ddp_mean_on_the_divergence(recipe: Recipe, level: Level) -> Recipe:
    """Divided a process's sum by the rows of all processes, though DDP takes the mean of their gradients again."""
    processes = _PROCESSES[level]

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        share = kl(student, teacher, temperature) / processes
        # What is logged is the sum over processes (here each has the same rows); what is differentiated is the share.
        summed = share.detach() * processes
        return share + (summed - share.detach())

    return replace(recipe, kd_loss=kd_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------


_EPSILON = 1e-8


def epsilon_below_half_precision_in_the_logarithm(recipe: Recipe, _level: Level) -> Recipe:
    """Took the logarithm of half-precision probabilities plus an epsilon that is 0 in half precision."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        # Log-probabilities stand for the logits: a softmax over them at a temperature is the same.
        log_student, log_teacher = (torch.log(p(logits.half()) + _EPSILON).float() for logits in (student, teacher))
        return kl(log_student, log_teacher, temperature)

    return replace(recipe, kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------


def classifier_loss_on_a_sigmoid_score(recipe: Recipe, _level: Level) -> Recipe:
    """Kept the softmax divergence of a classifier for a yes-or-no score: a flat [B] of them is one distribution."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        # The model's own output, [B]: the second column is its score, the first is 0.
        return kl(student[:, 1], teacher[:, 1], temperature)

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (log_target_divergence_with_default_reduction,),
    "KD202": (softened_divergence_left_at_its_own_scale,),
    "KD203": (softmax_of_both_models_into_kl_div,),
    "KD204": (kl_div_arguments_in_the_order_of_the_formula,),
    "KD205": (soft_labels_made_in_the_loop_and_softened_again,),
    "KD206": (both_softmaxes_over_the_first_axis,),
    "KD207": (alpha_taken_for_the_weight_of_the_student_loss,),
    "KD208": (feature_weight_borrowed_from_another_paper,),
    "KD209": (students_logits_on_both_sides_of_the_divergence,),
    "KD210": (small_beta_meant_as_almost_forward_divergence,),
    "KD211": (only_the_teacher_softened,),
    "KD212": (global_row_count_and_ddp_mean_on_the_divergence,),
    "KD213": (epsilon_below_half_precision_in_the_logarithm,),
    "KD214": (classifier_loss_on_a_sigmoid_score,),
}
