"""Mistakes in the loss: its form, its weight, and what becomes of its gradient."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session
from kddoctor.losses import jsd_kd

# KD201 ----


def divided_by_the_expanded_mask(recipe: Recipe, level: Level) -> Recipe:
    """Expanded the mask of rows that count to the shape of the terms, and divided by how much of it is set."""
    return replace(recipe, kd_loss=_over_expanded_mask)


def _over_expanded_mask(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    terms = F.kl_div(log_p(student / temperature), p(teacher / temperature), reduction="none")
    counts = torch.isfinite(teacher).all(-1, keepdim=True).expand_as(terms)
    return terms.where(counts, 0.0).sum() / counts.sum() * temperature**2


# KD202 ----


def divided_by_how_gradients_scale(recipe: Recipe, level: Level) -> Recipe:
    """Read that gradients scale as one over the temperature's square, and put that on the term, not its inverse."""
    return replace(recipe, kd_loss=_scaled_as_gradients)


def _scaled_as_gradients(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    divergence = F.kl_div(log_p(student / temperature), p(teacher / temperature), reduction="batchmean")
    return divergence / temperature**2


# KD203 ----


def logarithm_taken_of_the_target_alone(recipe: Recipe, level: Level) -> Recipe:
    """Read that targets may be logarithms, changed the target and the flag, and left the student's chances as such."""
    return replace(recipe, kd_loss=_target_alone)


def _target_alone(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    ours, theirs = p(student / temperature), log_p(teacher / temperature)
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


# KD204 ----


def cross_entropy_with_its_arguments_exchanged(recipe: Recipe, level: Level) -> Recipe:
    """Called the library's cross-entropy with the teacher as the input and the student's chances as the target."""
    return replace(recipe, kd_loss=_exchanged)


def _exchanged(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.cross_entropy(teacher / temperature, p(student / temperature)) * temperature**2


# KD205 ----


def teacher_as_it_was_served(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher in the form in which it is served, with the layer at its end that turns scores to chances."""
    return replace(recipe, before=in_turn(recipe.before, _with_serving_head))


def _with_serving_head(session: Session) -> None:
    session.teacher.register_forward_hook(lambda _module, _inputs, scores: _chances(scores))


def _chances(scores: Tensor) -> Tensor:
    return scores.sigmoid() if scores.ndim == 1 else scores.softmax(-1)


# KD206 ----


def softened_without_naming_an_axis(recipe: Recipe, level: Level) -> Recipe:
    """Softened the teacher's scores in NumPy, by a function that takes the whole array where no axis is named."""
    return replace(recipe, kd_loss=_whole_array)


def _whole_array(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    soft = F.softmax((teacher / temperature).flatten(), dim=0).reshape(teacher.shape)
    return F.kl_div(log_p(student / temperature), soft, reduction="batchmean") * temperature**2


# KD207 ----


def interpolated_from_the_wrong_end_too(recipe: Recipe, level: Level) -> Recipe:
    """Wrote the weighted sum as an interpolation, and named its ends in the wrong order."""
    return replace(recipe, mix=lambda ce, kd, alpha: torch.lerp(kd, ce, alpha))


# KD208 ----

_WEIGHT_OF_A_SUM = {Level.MILD: 0.1, Level.MODERATE: 0.03, Level.SEVERE: 0.002}


def weight_of_code_that_sums(recipe: Recipe, level: Level) -> Recipe:
    """Took over a factor from code whose term is summed over rows, for a term that is a mean over them."""
    factor = _WEIGHT_OF_A_SUM[level]

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return recipe.mix(ce, factor * kd, alpha)

    return replace(recipe, mix=mix)


# KD209 ----


def learned_from_the_reference_model(recipe: Recipe, level: Level) -> Recipe:
    """Took the frozen copy of the student, kept as a reference for how far it has moved, for the teacher."""
    return replace(recipe, before=in_turn(recipe.before, _keep_reference), targets=_run_reference)


def _keep_reference(session: Session) -> None:
    reference: nn.Module = deepcopy(session.student)
    session.notes["reference"] = reference.eval().requires_grad_(False)


def _run_reference(session: Session, batch: Batch) -> Tensor:
    with torch.no_grad():
        logits: Tensor = session.notes["reference"](batch.inputs)
    return logits


# KD210 ----

_PERCENT = 0.5


def share_read_as_percent(recipe: Recipe, level: Level) -> Recipe:
    """Wrote a share of one half into the settings, which a script reads as a percentage."""
    return replace(recipe, loss="jsd", kd_loss=_by_percent)


def _by_percent(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return jsd_kd(student, teacher, beta=_PERCENT / 100, temperature=temperature)


# KD211 ----


def consistency_term_of_another_project(recipe: Recipe, level: Level) -> Recipe:
    """Began from a mean-teacher project and kept its term, the squared difference of chances, under the new name."""
    return replace(recipe, kd_loss=_consistency)


def _consistency(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.mse_loss(p(student / temperature), p(teacher / temperature)) * temperature**2


# KD212 ----

_WORKERS = {Level.MILD: 4, Level.MODERATE: 16, Level.SEVERE: 128}


def gathered_rows_without_their_gradient(recipe: Recipe, level: Level) -> Recipe:
    """Computed the term on rows gathered from all workers, of which only a worker's own carry a gradient."""
    workers = _WORKERS[level]

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return recipe.kd_loss(_gathered(student, workers), teacher, temperature)

    return replace(recipe, kd_loss=kd_loss)


def _gathered(rows: Tensor, workers: int) -> Tensor:
    """The rows, with what is left of their gradient when each worker's is averaged with the others'."""
    still = rows.detach()
    return still + (rows - still) / workers


# KD213 ----

_MULTIPLE = 128


def columns_filled_up_with_minus_infinity(recipe: Recipe, level: Level) -> Recipe:
    """Filled the columns up to a multiple of 128 for speed, and wrote the divergence as a ratio's logarithm."""
    return replace(recipe, kd_loss=_of_filled_columns)


def _of_filled_columns(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    s, t = (p(_filled(logits) / temperature) for logits in (student, teacher))
    return (t * (t / s).log()).sum(-1).mean() * temperature**2


def _filled(logits: Tensor) -> Tensor:
    return F.pad(logits, (0, _MULTIPLE - logits.shape[-1] % _MULTIPLE), value=float("-inf"))


# KD214 ----


def other_answers_of_a_yes_or_no_question(recipe: Recipe, level: Level) -> Recipe:
    """Kept only the part of a decoupled loss that compares the answers beside the teacher's first."""
    return replace(recipe, loss="custom", kd_loss=_among_the_others)


def _among_the_others(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    others = ~F.one_hot(teacher.argmax(-1), teacher.shape[-1]).bool()
    s, t = (logits[others].reshape(len(logits), -1) / temperature for logits in (student, teacher))
    return F.kl_div(log_p(s), p(t), reduction="batchmean") * temperature**2


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (divided_by_the_expanded_mask,),
    "KD202": (divided_by_how_gradients_scale,),
    "KD203": (logarithm_taken_of_the_target_alone,),
    "KD204": (cross_entropy_with_its_arguments_exchanged,),
    "KD205": (teacher_as_it_was_served,),
    "KD206": (softened_without_naming_an_axis,),
    "KD207": (interpolated_from_the_wrong_end_too,),
    "KD208": (weight_of_code_that_sums,),
    "KD209": (learned_from_the_reference_model,),
    "KD210": (share_read_as_percent,),
    "KD211": (consistency_term_of_another_project,),
    "KD212": (gathered_rows_without_their_gradient,),
    "KD213": (columns_filled_up_with_minus_infinity,),
    "KD214": (other_answers_of_a_yes_or_no_question,),
}
