"""Mistakes of the codes KD2xx."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def divided_by_an_expanded_mask(recipe: Recipe, _level: Level) -> Recipe:
    """The mask of the rows that count is expanded over the classes, and the sum is divided by the sum of that."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        mask = student.new_ones(len(student), 1).expand_as(student)
        each = F.kl_div(log_p(student / t), p(teacher / t), reduction="none")
        return (each * mask).sum() / mask.sum() * t**2

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def divided_by_the_square(recipe: Recipe, _level: Level) -> Recipe:
    """Gradients "scale as 1/T²", so the term is made to: divided by T² where it should be multiplied."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean") / t**2

    return replace(recipe, kd_loss=kd_loss)


# KD203 ----------------------------------------------------------------------------------------------------------------


def log_target_of_two_softmaxes(recipe: Recipe, _level: Level) -> Recipe:
    """The criterion is copied with its log_target=True, and gets a softmax on either side."""
    divergence = nn.KLDivLoss(reduction="batchmean", log_target=True)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        value: Tensor = divergence(F.softmax(student / t, dim=-1), F.softmax(teacher / t, dim=-1))
        return value * t**2

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------

#: What Keras clips probabilities to.
EPSILON = 1e-7


def _keras_divergence(truth: Tensor, guess: Tensor) -> Tensor:
    """KL(truth ‖ guess) of probabilities, mean over rows."""
    truth, guess = (probabilities.clamp(EPSILON, 1.0) for probabilities in (truth, guess))
    return (truth * (truth / guess).log()).sum(-1).mean()


def keras_divergence_with_the_prediction_first(recipe: Recipe, _level: Level) -> Recipe:
    """Ported from Keras, where the truth comes first, and called as PyTorch's losses are: the prediction first."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return _keras_divergence(p(student / t), p(teacher / t)) * t**2

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------


def _as_probabilities(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits) if logits.ndim == 1 else torch.softmax(logits, dim=-1)


def both_softmaxed_before_the_criterion(recipe: Recipe, _level: Level) -> Recipe:
    """The loop turns both models' outputs into probabilities, and the criterions apply their own softmax to them."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return _as_probabilities(recipe.targets(session, batch))

    def answers(session: Session, batch: Batch) -> Tensor:
        return _as_probabilities(recipe.answers(session, batch))

    return replace(recipe, targets=targets, answers=answers)


# KD206 ----------------------------------------------------------------------------------------------------------------


def selected_and_never_viewed_as_rows(recipe: Recipe, _level: Level) -> Recipe:
    """Logits that count are taken with masked_select(), which flattens, and the view(-1, C) after it is left out.

    The softmax over the last axis is one over all rows and classes.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        mask = torch.ones_like(student, dtype=torch.bool)
        answers, targets = (logits.masked_select(mask) for logits in (student, teacher))
        return F.kl_div(log_p(answers / t), p(targets / t), reduction="batchmean") * t**2

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


def _blended(soft: Tensor, hard: Tensor, soft_weight: float) -> Tensor:
    return hard + soft_weight * (soft - hard)


def complement_given_as_the_soft_weight(recipe: Recipe, _level: Level) -> Recipe:
    """The helper wants the weight of the soft term; the trainer hands over 1 - alpha, as its old helper wanted it."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return _blended(kd, ce, soft_weight=1 - alpha)

    return replace(recipe, mix=mix)


# Steps ----------------------------------------------------------------------------------------------------------------


@dataclass
class _Progress:
    """How far a schedule of so many steps has come in a run."""

    steps: int

    def __post_init__(self) -> None:
        self._taken = 0

    def restart(self, _session: Session) -> None:
        """At the beginning of a run."""
        self._taken = 0

    def advance(self) -> float:
        """From 0, at the first step, to 1."""
        share = min(1.0, self._taken / self.steps)
        self._taken += 1
        return share


# KD208 ----------------------------------------------------------------------------------------------------------------

#: Steps of a linear warm-up that was set for a run of as many epochs on far more data.
WARM_UP = {Level.MILD: 4_000, Level.MODERATE: 20_000, Level.SEVERE: 100_000}


def warm_up_of_a_far_longer_run(recipe: Recipe, level: Level) -> Recipe:
    """The weight of the distillation term warms up over the steps of a big data set, and this run ends long before."""
    progress = _Progress(WARM_UP[level])

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return recipe.mix(ce, progress.advance() * kd, alpha)

    return replace(recipe, before=in_turn(recipe.before, progress.restart), mix=mix)


# KD209 ----------------------------------------------------------------------------------------------------------------

#: As in the usual mixing and smoothing of labels.
SMOOTHING = 0.1


class _SoftLabels:
    """The loader's own soft targets: labels, smoothed."""

    def __init__(self, recipe: Recipe) -> None:
        self._rows = recipe.rows

    def rows(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As the recipe makes them; labels are kept as distributions."""
        rows, truth = self._rows(logits, labels)
        certain = F.one_hot(truth, rows.shape[1]).to(rows.dtype)
        self._soft_targets = (1 - SMOOTHING) * certain + SMOOTHING / rows.shape[1]
        return rows, truth

    def kd_loss(self, student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        """The divergence from what is called soft targets."""
        return F.kl_div(log_p(student / t), self._soft_targets, reduction="batchmean") * t**2


def smoothed_labels_called_soft_targets(recipe: Recipe, _level: Level) -> Recipe:
    """The loader smooths the labels and calls them soft targets, and the divergence takes those for the teacher's."""
    loader = _SoftLabels(recipe)
    return replace(recipe, rows=loader.rows, kd_loss=loader.kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: Steps in which beta goes from 1/2 to its end, and how close to 0 and 1 it is let.
ANNEALED = {Level.MILD: 250, Level.MODERATE: 80, Level.SEVERE: 10}
MARGIN = 1e-4


def _jsd(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """beta KL(T ‖ M) + (1 - beta) KL(S ‖ M) with M = beta T + (1 - beta) S of log-probabilities, mean over rows."""
    weights = student.new_tensor([1 - beta, beta]).log()
    mixture = torch.logsumexp(torch.stack([student + weights[0], teacher + weights[1]]), dim=0)
    of_teacher = F.kl_div(mixture, teacher, reduction="batchmean", log_target=True)
    of_student = F.kl_div(mixture, student, reduction="batchmean", log_target=True)
    return beta * of_teacher + (1 - beta) * of_student


def beta_annealed_to_its_end(recipe: Recipe, level: Level) -> Recipe:
    """beta moves from an even mixture to 1, to end with what is meant to be the reverse divergence, and is clamped."""
    progress = _Progress(ANNEALED[level])

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        beta = min(0.5 + 0.5 * progress.advance(), 1 - MARGIN)
        return _jsd(log_p(student / t), log_p(teacher / t), beta) * t**2

    return replace(recipe, loss="jsd", before=in_turn(recipe.before, progress.restart), kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


def distillation_type_left_at_hard(recipe: Recipe, _level: Level) -> Recipe:
    """The library's criterion has a type, whose default is the cross-entropy with the class that the teacher picks."""

    def kd_loss(student: Tensor, teacher: Tensor, _t: float) -> Tensor:
        return F.cross_entropy(student, teacher.argmax(dim=1))

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Micro-batches of a step.
MICRO_BATCHES = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 16}


def cleared_before_each_micro_batch(recipe: Recipe, level: Level) -> Recipe:
    """zero_grad() stands within the loop over micro-batches: of the accumulated gradient only the last share is left.

    The loss that is logged is the mean of all of them.
    """

    def answers(session: Session, batch: Batch) -> Tensor:
        logits = recipe.answers(session, batch)
        kept = max(1, len(logits) // MICRO_BATCHES[level])
        return torch.cat([logits[:-kept].detach(), logits[-kept:]])

    return replace(recipe, answers=answers)


# KD213 ----------------------------------------------------------------------------------------------------------------

#: Added before a logarithm; in half precision it is 0.
TINY = 1e-8


def half_cross_entropy_by_hand(recipe: Recipe, _level: Level) -> Recipe:
    """The labels' term is one-hot labels times the logarithm of a softmax in half precision, where 1e-8 guards nothing.

    As soon as the student is sure, a probability is 0, and 0 times its logarithm is no number.
    """

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        probabilities = student.half().softmax(dim=1)
        certain = F.one_hot(labels, student.shape[1]).to(probabilities.dtype)
        return -(certain * (probabilities + TINY).log()).sum(dim=1).mean().float()

    return replace(recipe, ce_loss=ce_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------

#: Added to a deviation, for rows of equal logits.
FLAT = 1e-7


def _standardised(logits: Tensor) -> Tensor:
    mean, deviation = logits.mean(dim=-1, keepdim=True), logits.std(dim=-1, keepdim=True)
    return (logits - mean) / (deviation + FLAT)


def standardised_over_two_classes(recipe: Recipe, _level: Level) -> Recipe:
    """Logits are standardised over the classes of a row, which is for many: of two, it leaves which one is larger."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return kl(_standardised(student), _standardised(teacher), t)

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (divided_by_an_expanded_mask,),
    "KD202": (divided_by_the_square,),
    "KD203": (log_target_of_two_softmaxes,),
    "KD204": (keras_divergence_with_the_prediction_first,),
    "KD205": (both_softmaxed_before_the_criterion,),
    "KD206": (selected_and_never_viewed_as_rows,),
    "KD207": (complement_given_as_the_soft_weight,),
    "KD208": (warm_up_of_a_far_longer_run,),
    "KD209": (smoothed_labels_called_soft_targets,),
    "KD210": (beta_annealed_to_its_end,),
    "KD211": (distillation_type_left_at_hard,),
    "KD212": (cleared_before_each_micro_batch,),
    "KD213": (half_cross_entropy_by_hand,),
    "KD214": (standardised_over_two_classes,),
}
