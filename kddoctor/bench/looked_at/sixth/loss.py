"""Mistakes of the codes KD2xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def kept_apart_for_weights_of_rows(recipe: Recipe, _level: Level) -> Recipe:
    """Terms are kept apart for weights of rows, which are all one, and mean() then goes over classes as well."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        weights = student.new_ones(len(student), 1)
        terms = F.kl_div(log_p(student / t), p(teacher / t), reduction="none")
        return (weights * terms).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def factor_in_the_log_alone(recipe: Recipe, _level: Level) -> Recipe:
    """T² was added where the term is logged; the total is still made from the term as it was before."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        plain = kd / recipe.temperature**2
        return alpha * plain + (1 - alpha) * ce

    return replace(recipe, mix=mix)


# KD203 ----------------------------------------------------------------------------------------------------------------


def one_logarithm_missing_in_the_sum(recipe: Recipe, _level: Level) -> Recipe:
    """The divergence is written out for a framework that has none, and one of its two logarithms is forgotten."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = p(student / t), p(teacher / t)
        each = torch.xlogy(targets, targets) - targets * answers
        return each.sum(1).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def relative_entropy_begun_with_the_prediction(recipe: Recipe, _level: Level) -> Recipe:
    """The relative entropy x log(x / y) of a numerical library, with the prediction put in for x."""

    def relative_entropy(x: Tensor, y: Tensor) -> Tensor:
        return torch.xlogy(x, x) - torch.xlogy(x, y)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return relative_entropy(p(student / t), p(teacher / t)).sum(1).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------


def normalised_scores_of_one_against_the_rest(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is wrapped as one classifier a class, whose probabilities are divided by their sum: no logits."""

    def wrap(session: Session) -> None:
        def probabilities(_teacher: object, _inputs: object, logits: Tensor) -> Tensor:
            yes = logits.sigmoid()
            return yes if logits.ndim == 1 else yes / yes.sum(-1, keepdim=True)

        session.teacher.register_forward_hook(probabilities)

    return replace(recipe, before=in_turn(recipe.before, wrap))


# KD206 ----------------------------------------------------------------------------------------------------------------


def softmax_for_one_vector(recipe: Recipe, _level: Level) -> Recipe:
    """A softmax by hand, found for one vector, makes the targets: its sum has no axis and goes over the batch too."""

    def softmax(x: Tensor) -> Tensor:
        exponentials = (x - x.max()).exp()
        return exponentials / exponentials.sum()

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), softmax(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


def interpolated_from_the_wrong_end(recipe: Recipe, _level: Level) -> Recipe:
    """lerp(kd, ce, alpha) starts at its first argument, and alpha is the way to the second one, the labels' term."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return torch.lerp(kd, ce.to(kd.dtype), alpha)

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: Rows, or tokens, for which a batch has room.
ROOM = {Level.MILD: 512, Level.MODERATE: 4096, Level.SEVERE: 32768}


def divided_by_the_room_for_rows(recipe: Recipe, level: Level) -> Recipe:
    """The sum of the term is divided by the rows for which a batch has room, and not by those that are in it."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(student, teacher, t) * len(student) / ROOM[level]

    return replace(recipe, kd_loss=kd_loss)


# KD209 ----------------------------------------------------------------------------------------------------------------


def random_numbers_of_a_smoke_test(recipe: Recipe, _level: Level) -> Recipe:
    """Random numbers, of the right shape for a smoke test, still stand where the teacher's logits should."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        dummy = torch.randn_like(teacher)
        return recipe.kd_loss(student, dummy, t)

    return replace(recipe, kd_loss=kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: Adam's rate for the number whose sigmoid is the teacher's share.
SHARE_RATE = {Level.MILD: 0.03, Level.MODERATE: 0.1, Level.SEVERE: 0.5}


class _LearntShare:
    """A Jensen-Shannon divergence whose share of the teacher learns along, so as to make it small."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __repr__(self) -> str:
        return f"share that learns at a rate of {self.rate}"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._number = torch.zeros((), requires_grad=True)
        self._optimizer = Adam([self._number], self.rate)

    def divergence(self, student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """With the share as it is after the gradient of the step before."""
        self._optimizer.step()
        self._optimizer.zero_grad()
        share = self._number.sigmoid()
        answers, targets = p(student / t), p(teacher / t)
        mixture = (share * targets + (1 - share) * answers).log()
        of_teacher = F.kl_div(mixture, targets, reduction="batchmean")
        of_student = F.kl_div(mixture, answers, reduction="batchmean")
        return (share * of_teacher + (1 - share) * of_student) * t * t


def share_that_learns(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's share is a parameter, and learns from the same loss, which is least where the share is 0 or 1."""
    learnt = _LearntShare(SHARE_RATE[level])

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return learnt.divergence(student, teacher, t)

    return replace(recipe, loss="jsd", before=in_turn(recipe.before, learnt.start), kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


def hard_by_default(recipe: Recipe, _level: Level) -> Recipe:
    """The kind of distillation never reaches the trainer, whose default is hard: the teacher's best class alone."""

    def kd_loss(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
        return F.cross_entropy(student, teacher.argmax(1))

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Parts of a batch that hold a single row, beside the one that holds the rest.
SINGLE = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 32}


def mean_of_means_of_unequal_parts(recipe: Recipe, level: Level) -> Recipe:
    """Each part of a batch divides by its own rows: those of a short part count for as much as all of a long one.

    What is logged is the mean over the batch.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        single = min(SINGLE[level], len(student) - 1)
        sizes = [len(student) - single, *[1] * single]
        parts = zip(torch.split(student, sizes), torch.split(teacher, sizes), strict=True)
        mean = torch.stack([recipe.kd_loss(*part, t) for part in parts]).mean()
        return mean + (recipe.kd_loss(student, teacher, t) - mean).detach()

    return replace(recipe, kd_loss=kd_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------

#: The first scale, and the steps after which it doubles.
FIRST_SCALE, GROWTH_INTERVAL = 2.0**16, 10


class _Scale:
    """A loss scale for half precision that doubles from time to time, whatever becomes of the gradients."""

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def __repr__(self) -> str:
        return f"scale that doubles every {self.interval} steps"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._step = 0

    def next(self) -> float:
        """The scale of this step."""
        scale = FIRST_SCALE * 2.0 ** (self._step // self.interval)
        self._step += 1
        return scale


def scale_that_grows_unchecked(recipe: Recipe, _level: Level) -> Recipe:
    """The term is in half precision, and its scale grows without the check that undoes it where it overflows."""
    scales = _Scale(GROWTH_INTERVAL)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        scale = scales.next()

        def rounded(value: Tensor) -> Tensor:
            return (value * scale).half().to(value.dtype) / scale

        answers = student * 1.0
        if answers.requires_grad:
            answers.register_hook(rounded)  # type: ignore[no-untyped-call]
        loss = recipe.kd_loss(answers, teacher, t)
        return loss + (rounded(loss.detach()) - loss.detach())

    return replace(recipe, before=in_turn(recipe.before, scales.start), kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------


def loss_of_counts(recipe: Recipe, _level: Level) -> Recipe:
    """The loss of a model of counts: the score is the logarithm of a number of times, and the teacher's chance of a yes
    is that number; nothing is said of a no.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        scores = (student[:, 1] - student[:, 0]) / t
        return F.poisson_nll_loss(scores, p(teacher / t)[:, 1], log_input=True) * t * t

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (kept_apart_for_weights_of_rows,),
    "KD202": (factor_in_the_log_alone,),
    "KD203": (one_logarithm_missing_in_the_sum,),
    "KD204": (relative_entropy_begun_with_the_prediction,),
    "KD205": (normalised_scores_of_one_against_the_rest,),
    "KD206": (softmax_for_one_vector,),
    "KD207": (interpolated_from_the_wrong_end,),
    "KD208": (divided_by_the_room_for_rows,),
    "KD209": (random_numbers_of_a_smoke_test,),
    "KD210": (share_that_learns,),
    "KD211": (hard_by_default,),
    "KD212": (mean_of_means_of_unequal_parts,),
    "KD213": (scale_that_grows_unchecked,),
    "KD214": (loss_of_counts,),
}
