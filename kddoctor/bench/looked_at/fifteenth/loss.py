"""Mistakes in the lines of a script that compute its loss, or weigh its terms."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Classes are padded to a multiple of this, as large vocabularies are for tensor cores.
_MULTIPLE = 128
#: What the distillation term is multiplied by, besides its weight.
_RATIOS = {Level.MILD: 0.15, Level.MODERATE: 0.02, Level.SEVERE: 0.001}
#: How far from 0 and 1 the interpolation is kept.
_MARGINS = {Level.MILD: 0.045, Level.MODERATE: 0.01, Level.SEVERE: 1e-4}
#: Ranks of the job.
_RANKS = {Level.MILD: 8, Level.MODERATE: 32, Level.SEVERE: 512}


def _divergence(log_ours: Tensor, log_theirs: Tensor) -> Tensor:
    """[n]: KL(theirs to ours) of each row."""
    return (log_theirs.exp() * (log_theirs - log_ours)).sum(-1)


# KD201 ----------------------------------------------------------------------------------------------------


def mask_expanded_over_the_classes(recipe: Recipe, _level: Level) -> Recipe:
    """Expanded the mask of valid rows to the shape of the logits, and divided the sum by the mask's sum."""
    return replace(recipe, kd_loss=_masked_mean)


def _masked_mean(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    valid = torch.ones(len(student), 1, device=student.device)
    pointwise = F.kl_div(log_p(student / t), p(teacher / t), reduction="none")
    mask = valid.expand_as(pointwise)
    return (pointwise * mask).sum() / mask.sum() * t * t


# KD202 ----------------------------------------------------------------------------------------------------


def divided_as_the_gradients_are(recipe: Recipe, _level: Level) -> Recipe:
    """Read that the gradients scale as one over the squared temperature, and divides the loss by it."""
    return replace(recipe, kd_loss=_divided)


def _divided(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean") / (t * t)


# KD203 ----------------------------------------------------------------------------------------------------


def log1p_so_that_no_zero_is_met(recipe: Recipe, _level: Level) -> Recipe:
    """Takes log1p of the student's probabilities, so that the logarithm never meets a zero."""
    return replace(recipe, kd_loss=_of_log1p)


def _of_log1p(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.kl_div(p(student / t).log1p(), p(teacher / t), reduction="batchmean") * t * t


# KD204 ----------------------------------------------------------------------------------------------------


def soft_cross_entropy_with_the_teacher_as_prediction(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote the divergence as a soft cross-entropy, the teacher as the prediction and the student as the target."""
    return replace(recipe, kd_loss=_teacher_predicts)


def _teacher_predicts(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return -(p(student / t) * log_p(teacher / t)).sum(-1).mean() * t * t


# KD205 ----------------------------------------------------------------------------------------------------


def softened_before_the_loss_softens(recipe: Recipe, _level: Level) -> Recipe:
    """Has the teacher's helper return softened probabilities, for a loss that softens what it gets."""
    targets, t = recipe.targets, recipe.temperature

    def softened(session: Session, batch: Batch) -> Tensor:
        logits = targets(session, batch)
        return torch.sigmoid(logits / t) if logits.ndim == 1 else p(logits / t)

    return replace(recipe, targets=softened)


# KD206 ----------------------------------------------------------------------------------------------------


def softmax_of_the_whole_array(recipe: Recipe, _level: Level) -> Recipe:
    """Ported the loss from scipy, whose softmax without an axis runs over the whole array."""
    return replace(recipe, kd_loss=_of_the_whole_array)


def _of_the_whole_array(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    ours, theirs = (log_p(logits.flatten() / t).view_as(logits) for logits in (student, teacher))
    return F.kl_div(ours, theirs.exp(), reduction="batchmean") * t * t


# KD207 ----------------------------------------------------------------------------------------------------


def lerp_from_the_wrong_end(recipe: Recipe, _level: Level) -> Recipe:
    """Interpolates the terms with lerp, whose weight belongs to the second of them."""
    return replace(recipe, mix=_lerp)


def _lerp(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
    return torch.lerp(kd, ce, alpha)


# KD208 ----------------------------------------------------------------------------------------------------


def ratio_kept_from_dense_maps(recipe: Recipe, level: Level) -> Recipe:
    """Kept the ratio that a paper on segmentation has for a term summed over a map, besides alpha."""
    ratio = _RATIOS[level]

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return (1 - alpha) * ce + alpha * ratio * kd

    return replace(recipe, mix=mix)


# KD209 ----------------------------------------------------------------------------------------------------


def outputs_shadowed_by_the_students(recipe: Recipe, _level: Level) -> Recipe:
    """Named the outputs of both models alike, so that the soft targets come from the second, the student."""
    return replace(recipe, kd_loss=_shadowed)


def _shadowed(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    outputs = teacher
    outputs = student
    soft = p(outputs / t).detach()
    return F.kl_div(log_p(outputs / t), soft, reduction="batchmean") * t * t


# KD210 ----------------------------------------------------------------------------------------------------


def end_of_the_range_clamped(recipe: Recipe, level: Level) -> Recipe:
    """Set beta to 1 to have the reverse divergence, in code that clamps beta to where its logarithm is finite."""
    return replace(recipe, loss="jsd", kd_loss=_between(1.0, _MARGINS[level]))


def _between(wanted: float, margin: float) -> Callable[[Tensor, Tensor, float], Tensor]:
    beta = torch.tensor(wanted).clamp(margin, 1 - margin)

    def loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        ours, theirs = log_p(student / t), log_p(teacher / t)
        middle = torch.logaddexp(theirs + beta.log(), ours + (-beta).log1p())
        rows = beta * _divergence(middle, theirs) + (1 - beta) * _divergence(middle, ours)
        return rows.mean() * t * t

    return loss


# KD211 ----------------------------------------------------------------------------------------------------


def temperature_taken_for_its_inverse(recipe: Recipe, _level: Level) -> Recipe:
    """Multiplies the logits by the temperature, as contrastive code does with its inverse temperature."""
    return replace(recipe, kd_loss=_sharpened)


def _sharpened(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.kl_div(log_p(student * t), p(teacher * t), reduction="batchmean") * t * t


# KD212 ----------------------------------------------------------------------------------------------------


def averaged_over_ranks_before_backward(recipe: Recipe, level: Level) -> Recipe:
    """Averages the term over ranks in place before the backward pass, which DDP averages over ranks again."""
    loss, ranks = recipe.kd_loss, _RANKS[level]

    def averaged(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        mine = loss(student, teacher, t)
        others = mine.detach() * (ranks - 1)  # all_reduce adds them where autograd does not see it
        return (mine + others) / ranks

    return replace(recipe, kd_loss=averaged)


# KD213 ----------------------------------------------------------------------------------------------------


def classes_padded_with_minus_infinity(recipe: Recipe, _level: Level) -> Recipe:
    """Pads the classes of both models to a multiple of 128 with minus infinity, then takes the ratio of chances."""
    return replace(recipe, kd_loss=_padded)


def _padded(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    missing = -student.shape[1] % _MULTIPLE
    ours, theirs = (p(F.pad(logits, (0, missing), value=-torch.inf) / t) for logits in (student, teacher))
    return (theirs * (theirs / ours).log()).sum(-1).mean() * t * t


# KD214 ----------------------------------------------------------------------------------------------------


def decoupled_among_the_only_other_class(recipe: Recipe, _level: Level) -> Recipe:
    """Took the part of decoupled distillation among the other classes, for answers of yes or no."""
    return replace(recipe, kd_loss=_among_the_others)


def _among_the_others(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    target = F.one_hot(teacher.argmax(1), teacher.shape[1]) * 1000.0
    ours, theirs = log_p(student / t - target), p(teacher / t - target)
    return F.kl_div(ours, theirs, reduction="batchmean") * t * t


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (mask_expanded_over_the_classes,),
    "KD202": (divided_as_the_gradients_are,),
    "KD203": (log1p_so_that_no_zero_is_met,),
    "KD204": (soft_cross_entropy_with_the_teacher_as_prediction,),
    "KD205": (softened_before_the_loss_softens,),
    "KD206": (softmax_of_the_whole_array,),
    "KD207": (lerp_from_the_wrong_end,),
    "KD208": (ratio_kept_from_dense_maps,),
    "KD209": (outputs_shadowed_by_the_students,),
    "KD210": (end_of_the_range_clamped,),
    "KD211": (temperature_taken_for_its_inverse,),
    "KD212": (averaged_over_ranks_before_backward,),
    "KD213": (classes_padded_with_minus_infinity,),
    "KD214": (decoupled_among_the_only_other_class,),
}
