"""Mistakes of the codes KD2xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import exp

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def mask_spread_over_classes(recipe: Recipe, _level: Level) -> Recipe:
    """A mean over what a mask keeps, the mask expanded to the shape of the terms: each row counts once a class."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        terms = F.kl_div(log_p(student / t), p(teacher / t), reduction="none")
        mask = torch.ones_like(student[:, :1]).expand_as(terms)
        return (terms * mask).sum() / mask.sum() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def divided_by_t_squared(recipe: Recipe, _level: Level) -> Recipe:
    """The factor is on the wrong side: gradients shrink by T², and so does the loss once more."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), log_p(teacher / t), reduction="batchmean", log_target=True) / t**2

    return replace(recipe, kd_loss=kd_loss)


# KD203 ----------------------------------------------------------------------------------------------------------------


def log_target_of_probabilities(recipe: Recipe, _level: Level) -> Recipe:
    """Probabilities on both sides, and log_target=True, which was to make that right."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(p(student / t), p(teacher / t), reduction="batchmean", log_target=True) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------

#: Bounds to which another framework clips probabilities.
LEAST, MOST = 1e-7, 1.0


def order_of_another_framework(recipe: Recipe, _level: Level) -> Recipe:
    """A divergence ported from a framework whose losses take the truth first, called with the prediction first."""

    def divergence(y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = y_true.clamp(LEAST, MOST), y_pred.clamp(LEAST, MOST)
        return (y_true * (y_true / y_pred).log()).sum(-1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return divergence(p(student / t), p(teacher / t)).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------


def softened_before_and_after(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's wrapper returns softened targets; the loss takes them for logits and softens them once more."""

    def targets(session: Session, batch: Batch) -> Tensor:
        cooled = run_teacher(session, batch) / recipe.temperature
        return cooled.sigmoid() if cooled.ndim == 1 else cooled.softmax(-1)

    return replace(recipe, targets=targets)


# KD206 ----------------------------------------------------------------------------------------------------------------

#: Rows that the loss takes at a time, to save memory.
AT_A_TIME = 8


def over_the_rows_of_a_chunk(recipe: Recipe, _level: Level) -> Recipe:
    """The loss goes over a few rows at a time, and its softmax over the first axis of those."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        chunks = zip(torch.split(student, AT_A_TIME), torch.split(teacher, AT_A_TIME), strict=True)
        sums = [
            F.kl_div((ours / t).log_softmax(0), (theirs / t).softmax(0), reduction="sum") for ours, theirs in chunks
        ]
        return torch.stack(sums).sum() / len(student) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


def returned_in_the_other_order(recipe: Recipe, _level: Level) -> Recipe:
    """A criterion returns the labels' term and then the teacher's; who calls it takes them for the reverse."""

    def criterion(ce: Tensor, kd: Tensor) -> tuple[Tensor, Tensor]:
        return ce, kd

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        soft, hard = criterion(ce, kd)
        return alpha * soft + (1 - alpha) * hard

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: Length of the ramp in runs.
RAMP = {Level.MILD: 1.8, Level.MODERATE: 4.0, Level.SEVERE: 50.0}
#: How steep a ramp of consistency losses is.
STEEPNESS = 5.0


class _Ramp:
    """A weight that grows from step to step, exp(-5 (1 - x)²) with x from 0 to 1 over the length of the ramp."""

    def __init__(self, runs: float) -> None:
        self.runs = runs

    def __repr__(self) -> str:
        return f"ramp over {self.runs} runs"

    def start(self, steps: int) -> None:
        """At the first step of a run of so many."""
        self._length, self._step = max(1.0, self.runs * steps), 0

    def weight(self) -> float:
        """Of this step."""
        done = min(1.0, self._step / self._length)
        self._step += 1
        return exp(-STEEPNESS * (1 - done) ** 2)


def ramp_longer_than_the_run(recipe: Recipe, level: Level) -> Recipe:
    """A ramp-up from a code base that trains for much longer: the run ends before the term has its weight."""
    ramp = _Ramp(RAMP[level])

    def start(session: Session) -> None:
        ramp.start(recipe.epochs * max(1, len(session.train) // session.batch_size))

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * (ramp.weight() * kd) + (1 - alpha) * ce

    return replace(recipe, before=in_turn(recipe.before, start), mix=mix)


# KD209 ----------------------------------------------------------------------------------------------------------------

#: What a teacher that is made up gives to the right class.
MADE_UP = 0.9


class _MadeUp:
    """A teacher that is made from the labels: much for the right class, the same little for all others."""

    def __init__(self, recipe: Recipe) -> None:
        self._rows = recipe.rows

    def rows(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As the recipe makes them; the labels are kept."""
        rows, truth = self._rows(logits, labels)
        self._labels = truth
        return rows, truth

    def kd_loss(self, student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        """KL divergence from the teacher that is made up."""
        others = (1 - MADE_UP) / (student.shape[1] - 1)
        targets = torch.full_like(student, others).scatter(1, self._labels[:, None], MADE_UP)
        return F.kl_div(log_p(student / t), targets, reduction="batchmean") * t * t


def teacher_free_mode_left_on(recipe: Recipe, _level: Level) -> Recipe:
    """A code base that can also do without a teacher still does: its targets are made up from the labels."""
    made_up = _MadeUp(recipe)
    return replace(recipe, rows=made_up.rows, kd_loss=made_up.kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: By how much a row's share of the student in the mixture is scaled down.
STUDENT_SHARE = {Level.MILD: 0.1, Level.MODERATE: 0.03, Level.SEVERE: 1e-3}


def share_by_certainty(recipe: Recipe, level: Level) -> Recipe:
    """Each row has a share of its own, the more of the teacher the surer that is: nearly one wherever it counts."""
    scale = STUDENT_SHARE[level]

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = p(student / t), p(teacher / t)
        share = 1 - scale * (1 - p(teacher).amax(1))
        mixture = (share[:, None] * targets + (1 - share[:, None]) * answers).log()
        of_teacher = (targets * (log_p(teacher / t) - mixture)).sum(1)
        of_student = (answers * (log_p(student / t) - mixture)).sum(1)
        return (share * of_teacher + (1 - share) * of_student).mean() * t * t

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


def squared_error_of_probabilities(recipe: Recipe, _level: Level) -> Recipe:
    """The trainer's default for "consistency" is the squared error of softened probabilities."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.mse_loss(p(student / t), p(teacher / t), reduction="sum") / len(student) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Micro-batches after which gradients are set to zero.
KEPT_FOR = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 16}


def stepped_in_each_micro_batch(recipe: Recipe, level: Level) -> Recipe:
    """The optimizer steps after each micro-batch, and gradients are set to zero after the last of them alone."""

    def accumulate(session: Session) -> None:
        for parameter in session.student.parameters():
            parameter.register_post_accumulate_grad_hook(_kept_for(KEPT_FOR[level]))  # type: ignore[no-untyped-call]

    return replace(recipe, before=in_turn(recipe.before, accumulate))


def _kept_for(steps: int) -> Callable[[Tensor], None]:
    """Adds what earlier steps left, up to so many of them."""
    kept: list[Tensor] = []

    def add(parameter: Tensor) -> None:
        assert parameter.grad is not None
        if len(kept) == steps:
            kept.clear()
        kept.append(parameter.grad.clone())
        parameter.grad.copy_(torch.stack(kept).sum(0))

    return add


# KD213 ----------------------------------------------------------------------------------------------------------------


def odds_against_the_first_class(recipe: Recipe, _level: Level) -> Recipe:
    """Softened from the odds against the first class, in half precision: where that is unlikely they are infinite."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = (_from_odds(p(logits).half(), t).float() for logits in (student, teacher))
        return (targets * (targets.log() - answers.log())).sum(1).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


def _from_odds(probabilities: Tensor, t: float) -> Tensor:
    odds = (probabilities / probabilities[:, :1]) ** (1 / t)
    return odds / odds.sum(1, keepdim=True)


# KD214 ----------------------------------------------------------------------------------------------------------------


def scores_for_probabilities(recipe: Recipe, _level: Level) -> Recipe:
    """A cross-entropy of yes or no whose targets are the teacher's scores: below 0 and above 1 it has no least."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(student[:, 1] / t, teacher[:, 1] / t) * t * t

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (mask_spread_over_classes,),
    "KD202": (divided_by_t_squared,),
    "KD203": (log_target_of_probabilities,),
    "KD204": (order_of_another_framework,),
    "KD205": (softened_before_and_after,),
    "KD206": (over_the_rows_of_a_chunk,),
    "KD207": (returned_in_the_other_order,),
    "KD208": (ramp_longer_than_the_run,),
    "KD209": (teacher_free_mode_left_on,),
    "KD210": (share_by_certainty,),
    "KD211": (squared_error_of_probabilities,),
    "KD212": (stepped_in_each_micro_batch,),
    "KD213": (odds_against_the_first_class,),
    "KD214": (scores_for_probabilities,),
}
