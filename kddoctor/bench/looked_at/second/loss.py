"""Mistakes of the codes KD2xx."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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


# KD206 ----------------------------------------------------------------------------------------------------------------


def over_everything(recipe: Recipe, _level: Level) -> Recipe:
    """Both sides are flattened before the softmax, which then runs over all rows and classes at once."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student.flatten() / t), p(teacher.flatten() / t)
        return F.kl_div(answers, targets, reduction="sum") * t * t

    return replace(recipe, kd_loss=kd_loss)


def answers_over_the_batch(recipe: Recipe, _level: Level) -> Recipe:
    """The targets are right; the student's log_softmax has the axis of another layout."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div((student / t).log_softmax(0), p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


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


# KD209 ----------------------------------------------------------------------------------------------------------------


def written_into_a_copy(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's logits are copied into buffer[rows], which is a copy itself: the buffer stays at zero."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        buffer = torch.zeros_like(teacher)
        buffer[torch.arange(len(teacher))].copy_(teacher)
        return kl(student, buffer, t)

    return replace(recipe, kd_loss=kd_loss)


def own_guesses(recipe: Recipe, _level: Level) -> Recipe:
    """Pseudo-labels that the code takes from whatever is called logits, and that is the student's."""

    def kd_loss(student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        logits = student
        return F.cross_entropy(logits / t, logits.argmax(1)) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: Weight of the teacher where the divergence vanishes at 1.
TEACHER_SHARE = {Level.MILD: 0.96, Level.MODERATE: 0.985, Level.SEVERE: 0.9999}


def entropies_with_a_share_near_one(recipe: Recipe, level: Level) -> Recipe:
    """As entropy of the mixture less mixture of the entropies, with a share near one: "mostly the teacher"."""
    share = TEACHER_SHARE[level]

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = p(student / t), p(teacher / t)
        whole, taught, own = (_entropy(side) for side in (share * targets + (1 - share) * answers, targets, answers))
        return t**2 * (whole - share * taught - (1 - share) * own).mean()

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


def _entropy(probabilities: Tensor) -> Tensor:
    each: Tensor = torch.special.entr(probabilities)
    return each.sum(1)


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


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Devices over which a gradient that is whole is summed once more, and micro-batches of which only the last counts.
SUMMED_OVER = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 32}
LAST_OF = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 16}


class _AllReduce(torch.autograd.Function):
    """The same value on every device; the gradient is the sum of what each of them has."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, devices: int) -> Tensor:
        ctx.devices = devices
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> tuple[Tensor, None]:
        return outputs[0] * ctx.devices, None


def reduced_once_more(recipe: Recipe, level: Level) -> Recipe:
    """Each device of a sharded vocabulary holds the whole gradient of the term, and the gather sums them all."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        gathered: Tensor = _AllReduce.apply(student, SUMMED_OVER[level])  # type: ignore[no-untyped-call]
        return recipe.kd_loss(gathered, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


def zeroed_in_each_micro_batch(recipe: Recipe, level: Level) -> Recipe:
    """zero_grad() stands inside the loop over micro-batches: of the mean that is logged, the last part's gradient."""

    def last(rows: Tensor) -> slice:
        return slice(-max(1, len(rows) // LAST_OF[level]), None)

    def with_gradient_of(whole: Tensor, part: Tensor) -> Tensor:
        return whole.detach() + (part - part.detach()) / LAST_OF[level]

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        part = recipe.kd_loss(student[last(student)], teacher[last(teacher)], t)
        return with_gradient_of(recipe.kd_loss(student, teacher, t), part)

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        part = recipe.ce_loss(student[last(student)], labels[last(labels)])
        return with_gradient_of(recipe.ce_loss(student, labels), part)

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------

#: Added before a logarithm, and less than the smallest number above 0 in half precision.
EPSILON = 1e-8
#: A class whose probability is less is left out of the comparison.
LEAST = 1e-3


def epsilon_below_half_precision(recipe: Recipe, _level: Level) -> Recipe:
    """log(p + 1e-8) in half precision, where 1e-8 is 0: the logarithm of a small probability is infinite."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = ((p(logits).half() + EPSILON).log().float() for logits in (student, teacher))
        return F.kl_div(log_p(answers / t), p(targets / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def minus_infinity_on_both_sides(recipe: Recipe, _level: Level) -> Recipe:
    """Classes that the teacher rules out get minus infinity in both models: 0 times infinity is no number."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        ruled_out = p(teacher) < LEAST
        answers, targets = (logits.masked_fill(ruled_out, -torch.inf) / t for logits in (student, teacher))
        return (p(targets) * (log_p(targets) - log_p(answers))).sum(1).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------

#: Added to a deviation before a division by it.
SMALL = 1e-7


def correlation_of_two(recipe: Recipe, _level: Level) -> Recipe:
    """One minus the correlation of a row's probabilities, made for many classes: of two it is 1 or -1."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        sides = (p(logits / t) for logits in (student, teacher))
        answers, targets = (side - side.mean(1, keepdim=True) for side in sides)
        return (1 - F.cosine_similarity(answers, targets)).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


def two_logits_standardised(recipe: Recipe, _level: Level) -> Recipe:
    """Logits standardised within each row, as is good for many classes: of two nothing but the sign is left."""

    def standardised(logits: Tensor) -> Tensor:
        return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + SMALL)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return kl(standardised(student), standardised(teacher), t)

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (divided_by_all_elements,),
    "KD202": (squared_twice, two_t_squared),
    "KD203": (log_of_one_more, log_of_the_target_alone),
    "KD204": (log_targets_exchanged, entropy_of_the_student),
    "KD205": (scores_of_a_service,),
    "KD206": (over_everything, answers_over_the_batch),
    "KD207": (terms_sorted_by_name, ratio_of_the_other),
    "KD208": (one_term_scaled, uncertainty_never_learnt),
    "KD209": (written_into_a_copy, own_guesses),
    "KD210": (entropies_with_a_share_near_one,),
    "KD211": (jensen_shannon, student_divided_twice),
    "KD212": (reduced_once_more, zeroed_in_each_micro_batch),
    "KD213": (epsilon_below_half_precision, minus_infinity_on_both_sides),
    "KD214": (correlation_of_two, two_logits_standardised),
}
