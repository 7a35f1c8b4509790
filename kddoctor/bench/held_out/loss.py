"""Held-out mistakes of the codes KD2xx."""

import json
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def divided_by_all_elements(recipe: Recipe, _level: Level) -> Recipe:
    """A sum over everything, divided by numel() where the number of rows was meant."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        total = F.kl_div(log_p(student / t), log_p(teacher / t), reduction="sum", log_target=True)
        return total / student.numel() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def squared_twice(recipe: Recipe, _level: Level) -> Recipe:
    """A loss that has the factor already, multiplied by it once more."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return t**2 * kl(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


def two_t_squared(recipe: Recipe, _level: Level) -> Recipe:
    """The factor 2T² of an old code base, whose terms were weighted otherwise."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        divergence = F.kl_div(log_p(student / t), log_p(teacher / t), reduction="batchmean", log_target=True)
        return divergence * (t * t * 2.0)

    return replace(recipe, kd_loss=kd_loss)


# KD203 ----------------------------------------------------------------------------------------------------------------


def log_of_one_more(recipe: Recipe, _level: Level) -> Recipe:
    """log1p of the student's probabilities, so that none of them is zero."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(torch.log1p(p(student / t)), p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def log_of_the_target_alone(recipe: Recipe, _level: Level) -> Recipe:
    """log_target=True and the teacher's side changed for it, but the student's log_softmax became a softmax."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(p(student / t), log_p(teacher / t), reduction="batchmean", log_target=True) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def log_targets_exchanged(recipe: Recipe, _level: Level) -> Recipe:
    """Both sides as logarithms, where nobody sees any more which of them is the input."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(teacher / t), log_p(student / t), reduction="none", log_target=True).sum(1).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


def entropy_of_the_student(recipe: Recipe, _level: Level) -> Recipe:
    """Cross-entropy less entropy, both taken under the student."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        weights = p(student / t)
        entropy: Tensor = torch.special.entr(weights).sum(1)
        return (F.cross_entropy(teacher / t, weights) - entropy.mean()) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------

#: Decimals in the answer of the teacher's service.
DECIMALS = 4


def scores_of_a_service(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is behind a service whose scores, probabilities with four decimals, are read as logits."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        scores = logits.sigmoid() if logits.ndim == 1 else logits.softmax(-1)
        answer = json.dumps({"scores": scores.double().round(decimals=DECIMALS).tolist()})
        read: Tensor = torch.tensor(json.loads(answer)["scores"], dtype=logits.dtype)
        return read

    return replace(recipe, targets=targets)


# KD207 ----------------------------------------------------------------------------------------------------------------


def terms_sorted_by_name(recipe: Recipe, _level: Level) -> Recipe:
    """Weights in the order (distillation, labels), terms in that of their names: ce, kd."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        terms, weights = {"kd": kd, "ce": ce}, (alpha, 1 - alpha)
        ordered = torch.stack([terms[name] for name in sorted(terms)])
        return ordered @ ordered.new_tensor(weights)

    return replace(recipe, mix=mix)


def ratio_of_the_other(recipe: Recipe, _level: Level) -> Recipe:
    """Weights from a ratio that is normalised, the ratio multiplied onto the labels' term."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        ratio = alpha / max(1 - alpha, 1e-6)
        return (kd + ratio * ce) / (1 + ratio)

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: Loss scale of mixed precision that only one term gets, and the log-variance of a weight that is never learnt.
LOSS_SCALE = {Level.MILD: 4.0, Level.MODERATE: 8.0, Level.SEVERE: 128.0}
LOG_VARIANCE = {Level.MILD: 3.0, Level.MODERATE: 5.0, Level.SEVERE: 7.0}


def one_term_scaled(recipe: Recipe, level: Level) -> Recipe:
    """A loss scale of mixed precision, applied to the distillation term alone."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * (LOSS_SCALE[level] * kd) + (1 - alpha) * ce

    return replace(recipe, mix=mix)


def uncertainty_never_learnt(recipe: Recipe, level: Level) -> Recipe:
    """Weighted by an uncertainty that starts high and that no optimizer gets."""
    log_variance = torch.tensor(LOG_VARIANCE[level])

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return torch.exp(-log_variance) * kl(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


def jensen_shannon(recipe: Recipe, _level: Level) -> Recipe:
    """The trainer's default is the Jensen-Shannon divergence; nobody passed the declared one on."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        ours, theirs = log_p(student / t), log_p(teacher / t)
        middle = torch.logsumexp(torch.stack([ours, theirs]), dim=0) - torch.tensor(2.0).log()
        parts = [F.kl_div(middle, side, reduction="batchmean", log_target=True) for side in (ours, theirs)]
        return (parts[0] + parts[1]) / 2 * t * t

    return replace(recipe, kd_loss=kd_loss)


def student_divided_twice(recipe: Recipe, _level: Level) -> Recipe:
    """The student's logits come divided by the temperature, and the loss divides them again."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        cooled = student / t
        return F.kl_div(log_p(cooled / t), p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


HELD_OUT: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (divided_by_all_elements,),
    "KD202": (squared_twice, two_t_squared),
    "KD203": (log_of_one_more, log_of_the_target_alone),
    "KD204": (log_targets_exchanged, entropy_of_the_student),
    "KD205": (scores_of_a_service,),
    "KD207": (terms_sorted_by_name, ratio_of_the_other),
    "KD208": (one_term_scaled, uncertainty_never_learnt),
    "KD211": (jensen_shannon, student_divided_twice),
}
