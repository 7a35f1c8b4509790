"""Mistakes of the loss, held out: the form of the distillation term, its operands, its weight and its arithmetic."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench import losses
from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, watch, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD201 ---------------------------------------------------------------------------------------------------------------


def take_the_mean_of_the_unreduced_divergence(recipe: Recipe, _level: Level) -> Recipe:
    """Asked kl_div for no reduction and called mean() on the result, which averages over the classes as well."""
    return replace(recipe, kd_loss=_mean_of_elements)


def _mean_of_elements(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    t = temperature
    elements = F.kl_div(losses.log_p(student / t), losses.p(teacher / t), reduction="none")
    return elements.mean() * t * t


# KD202 ---------------------------------------------------------------------------------------------------------------


def soften_both_sides_and_forget_the_squared_temperature(recipe: Recipe, _level: Level) -> Recipe:
    """Divided the logits of both models by T, and took the divergence as it came."""
    return replace(recipe, kd_loss=_unscaled)


def _unscaled(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.kl_div(losses.log_p(student / temperature), losses.p(teacher / temperature), reduction="batchmean")


# KD203 ---------------------------------------------------------------------------------------------------------------


def apply_softmax_to_both_arguments_of_kl_div(recipe: Recipe, _level: Level) -> Recipe:
    """Gave kl_div two distributions, as the formula has them, where it wants the student's logarithms."""
    return replace(recipe, kd_loss=_divergence_of_probabilities)


def _divergence_of_probabilities(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    t = temperature
    return F.kl_div(losses.p(student / t), losses.p(teacher / t), reduction="batchmean") * t * t


# KD204 ---------------------------------------------------------------------------------------------------------------


def pass_the_teacher_as_input_and_the_student_as_target(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote kl_div's arguments in the order of KL(teacher, student): the first is the log of the second's model."""
    return replace(recipe, kd_loss=_in_the_order_of_the_formula)


def _in_the_order_of_the_formula(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    t = temperature
    return F.kl_div(losses.log_p(teacher / t), losses.p(student / t), reduction="batchmean") * t * t


# KD205 ---------------------------------------------------------------------------------------------------------------


def distil_from_a_teacher_class_that_ends_in_an_activation(recipe: Recipe, _level: Level) -> Recipe:
    """Took a teacher whose forward() returns probabilities, for serving, and softened them as if they were logits."""
    return replace(recipe, before=in_turn(recipe.before, _end_in_an_activation))


def _end_in_an_activation(session: Session) -> None:
    session.teacher.register_forward_hook(_activated)


def _activated(_module: nn.Module, _inputs: Any, logits: Tensor) -> Tensor:
    return torch.sigmoid(logits) if logits.ndim == 1 else logits.softmax(dim=-1)


# KD206 ---------------------------------------------------------------------------------------------------------------


def normalise_over_the_first_axis(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote dim=0 in the softmax of both models, which sums to one over the batch."""
    return replace(recipe, kd_loss=_over_the_batch)


def _over_the_batch(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    t = temperature
    log_student, of_teacher = F.log_softmax(student / t, dim=0), F.softmax(teacher / t, dim=0)
    return F.kl_div(log_student, of_teacher, reduction="batchmean") * t * t


# KD207 ---------------------------------------------------------------------------------------------------------------


def put_alpha_on_the_hard_label_term(recipe: Recipe, _level: Level) -> Recipe:
    """Mixed the terms by the other convention, in which alpha is the weight of the labels."""
    return replace(recipe, mix=_alpha_on_the_labels)


def _alpha_on_the_labels(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
    return alpha * ce + (1 - alpha) * kd


# KD208 ---------------------------------------------------------------------------------------------------------------

#: Weights as papers print them, each for a feature loss of another scale.
FEATURE_WEIGHTS = {Level.MILD: 10.0, Level.MODERATE: 100.0, Level.SEVERE: 1000.0}


def copy_the_feature_weight_from_another_paper(recipe: Recipe, level: Level) -> Recipe:
    """Added a feature loss with the weight that a paper gives for its own, which is much smaller by its definition."""
    return with_hint(recipe, FEATURE_WEIGHTS[level])


# KD209 ---------------------------------------------------------------------------------------------------------------


def copy_the_student_line_for_the_soft_targets(recipe: Recipe, _level: Level) -> Recipe:
    """Copied the line of the student's log-probabilities for the targets, and changed the function but not the name."""
    return replace(recipe, kd_loss=_student_against_itself)


def _student_against_itself(student: Tensor, _teacher: Tensor, temperature: float) -> Tensor:
    t = temperature
    soft_targets = losses.p(student / t).detach()
    return F.kl_div(losses.log_p(student / t), soft_targets, reduction="batchmean") * t * t


# KD210 ---------------------------------------------------------------------------------------------------------------

#: Nearer and nearer to the end at which forward KL was expected.
BETAS = {Level.MILD: 0.04, Level.MODERATE: 0.01, Level.SEVERE: 0.001}


def move_beta_close_to_zero_to_get_forward_kl(recipe: Recipe, level: Level) -> Recipe:
    """Read that the generalised JSD becomes forward KL as beta goes to zero, and chose a small one to come near it."""
    beta = torch.tensor(BETAS[level])

    def generalised_jsd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        log_s, log_t = losses.log_p(student / temperature), losses.log_p(teacher / temperature)
        middle = torch.logaddexp(log_t + beta.log(), log_s + (1 - beta).log())
        of_teacher, of_student = (
            F.kl_div(middle, side, reduction="batchmean", log_target=True) for side in (log_t, log_s)
        )
        return (beta * of_teacher + (1 - beta) * of_student) * temperature**2

    return replace(recipe, loss="jsd", kd_loss=generalised_jsd)


# KD211 ---------------------------------------------------------------------------------------------------------------


def call_the_loss_without_the_configured_temperature(recipe: Recipe, _level: Level) -> Recipe:
    """Read the temperature from the config and did not hand it on, so that the loss used its default argument."""
    return replace(recipe, kd_loss=_without_the_argument)


def _without_the_argument(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
    return _distillation_loss(student, teacher)


def _distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    return losses.kl(student, teacher, temperature)


# KD212 ---------------------------------------------------------------------------------------------------------------

#: A few devices, a machine or two, a cluster.
WORKERS = {Level.MILD: 4, Level.MODERATE: 16, Level.SEVERE: 64}


def divide_by_the_global_count_before_gradients_are_averaged(recipe: Recipe, level: Level) -> Recipe:
    """Divided the distillation term by the rows of all workers, although DDP averages the gradients once more.

    The sum over workers that is logged is right, and so is the hard-label term, which is a mean over a worker's rows.
    """
    workers = WORKERS[level]

    def of_all_workers(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return _averaged_gradient(recipe.kd_loss(student, teacher, temperature), workers)

    return replace(recipe, kd_loss=of_all_workers)


def _averaged_gradient(total: Tensor, workers: int) -> Tensor:
    """The same value, with the gradient that is left after the mean over workers."""
    own = total / workers
    return own + (total - own).detach()


# KD213 ---------------------------------------------------------------------------------------------------------------


def take_roots_of_unclamped_pairwise_distances(recipe: Recipe, _level: Level) -> Recipe:
    """Added a relational loss whose distances come from inner products, and left out the clamp before the root."""
    return replace(recipe, before=in_turn(recipe.before, watch), hint=_relational)


def _relational(session: Session, batch: Batch) -> Tensor:
    student, teacher = features_that_count(session, batch)
    with torch.no_grad():
        of_teacher = _relative_distances(teacher)
    return F.smooth_l1_loss(_relative_distances(student), of_teacher)


def _relative_distances(features: Tensor) -> Tensor:
    """[n, n] distances in units of their mean. A row's distance to itself is zero give or take a rounding error."""
    squares = features.square().sum(1)
    distances = (squares[:, None] + squares[None, :] - 2 * features @ features.T).sqrt()
    return distances / distances[distances > 0].mean()


# KD214 ---------------------------------------------------------------------------------------------------------------


def apply_softmax_to_the_only_column_of_scores(recipe: Recipe, _level: Level) -> Recipe:
    """Kept the softmax of a multi-class loss for a model with one score a row, whose share is always all."""
    return replace(recipe, kd_loss=_of_one_column)


def _of_one_column(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return losses.kl(student[:, 1:], teacher[:, 1:], temperature)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (take_the_mean_of_the_unreduced_divergence,),
    "KD202": (soften_both_sides_and_forget_the_squared_temperature,),
    "KD203": (apply_softmax_to_both_arguments_of_kl_div,),
    "KD204": (pass_the_teacher_as_input_and_the_student_as_target,),
    "KD205": (distil_from_a_teacher_class_that_ends_in_an_activation,),
    "KD206": (normalise_over_the_first_axis,),
    "KD207": (put_alpha_on_the_hard_label_term,),
    "KD208": (copy_the_feature_weight_from_another_paper,),
    "KD209": (copy_the_student_line_for_the_soft_targets,),
    "KD210": (move_beta_close_to_zero_to_get_forward_kl,),
    "KD211": (call_the_loss_without_the_configured_temperature,),
    "KD212": (divide_by_the_global_count_before_gradients_are_averaged,),
    "KD213": (take_roots_of_unclamped_pairwise_distances,),
    "KD214": (apply_softmax_to_the_only_column_of_scores,),
}
