"""Mistakes of the codes KD2xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------------------


class _Table:
    """Both terms before any mean: the teacher's as [n, C], the labels' as [n, 1]."""

    def kd_loss(self, student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """What is logged of the teacher's term; its table is kept."""
        self._soft = F.kl_div(log_p(student / t), p(teacher / t), reduction="none") * t * t
        return self._soft.sum(1).mean()

    def ce_loss(self, student: Tensor, labels: Tensor) -> Tensor:
        """What is logged of the labels' term; its column is kept."""
        self._hard = F.cross_entropy(student, labels, reduction="none")[:, None]
        return self._hard.mean()

    def mix(self, _ce: Tensor, _kd: Tensor, alpha: float) -> Tensor:
        """One mean over the sum of both, in which the column stands in every class."""
        return (alpha * self._soft + (1 - alpha) * self._hard).mean()


def one_mean_over_a_table_of_both(recipe: Recipe, _level: Level) -> Recipe:
    """Both terms are added up before the mean, for weights of rows: the labels' column is broadcast to the classes."""
    table = _Table()
    return replace(recipe, kd_loss=table.kd_loss, ce_loss=table.ce_loss, mix=table.mix)


# KD202 ----------------------------------------------------------------------------------------------------------------

#: Part of the run after which the cooled temperature is one.
COOLED = 0.2


class _Cooling:
    """A temperature that goes from the declared one to one, and stays there."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __repr__(self) -> str:
        return f"temperature that is cooled from {self.temperature}"

    def start(self, steps: int) -> None:
        """At the start of a run of so many steps."""
        self._length, self._step = max(1.0, COOLED * steps), 0

    def now(self) -> float:
        """Of this step."""
        done = min(1.0, self._step / self._length)
        self._step += 1
        return self.temperature + done * (1 - self.temperature)


def factor_of_a_cooled_temperature(recipe: Recipe, _level: Level) -> Recipe:
    """The factor takes its temperature from a schedule that soon cools it to one; the softening never got that one."""
    cooling = _Cooling(recipe.temperature)

    def start(session: Session) -> None:
        cooling.start(recipe.epochs * max(1, len(session.train) // session.batch_size))

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean") * cooling.now() ** 2

    return replace(recipe, before=in_turn(recipe.before, start), kd_loss=kd_loss)


# KD203 ----------------------------------------------------------------------------------------------------------------


def log_on_both_sides_without_saying_so(recipe: Recipe, _level: Level) -> Recipe:
    """log_softmax on both sides, as symmetry suggests, and kl_div takes the teacher's logarithms for probabilities."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), log_p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def bregman_divergence_of_the_logits(recipe: Recipe, _level: Level) -> Recipe:
    """The Bregman divergence of logsumexp, from teacher to student: and of logits, that is the reverse KL."""

    def bregman(x: Tensor, y: Tensor) -> Tensor:
        return x.logsumexp(1) - y.logsumexp(1) - (p(y) * (x - y)).sum(1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return bregman(teacher / t, student / t).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------

#: Share of the label in a refurbished target.
OF_THE_LABEL = 0.2


def refurbished_labels(recipe: Recipe, _level: Level) -> Recipe:
    """Targets are the teacher's probabilities and a share of the label, as against noise; the loss wants logits."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if logits.ndim == 1:
            return torch.lerp(logits.sigmoid(), batch.labels.to(logits.dtype), OF_THE_LABEL)
        hard = F.one_hot(batch.labels.clamp_min(0), logits.shape[-1]).to(logits.dtype)
        return torch.lerp(p(logits), hard, OF_THE_LABEL)

    return replace(recipe, targets=targets)


# KD206 ----------------------------------------------------------------------------------------------------------------


def sums_carried_from_row_to_row(recipe: Recipe, _level: Level) -> Recipe:
    """A softmax in one pass keeps a running sum, which is not set back at the end of a row: it goes down the batch."""

    def log_softmax(x: Tensor) -> Tensor:
        running = x.logsumexp(1).logcumsumexp(0)
        return x - running[:, None]

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_softmax(student / t), log_softmax(teacher / t)
        return F.kl_div(answers, targets, reduction="batchmean", log_target=True) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


def drawn_with_the_others_chance(recipe: Recipe, _level: Level) -> Recipe:
    """Each step has one of the terms, drawn with a chance of alpha, and what that chance draws is the labels'."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return torch.where(torch.rand(()) < alpha, ce, kd)

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: Rows over which a controller moves the weight, and the divergence that it holds, of reinforcement learning.
HORIZON = {Level.MILD: 3000.0, Level.MODERATE: 500.0, Level.SEVERE: 100.0}
HELD, LARGEST_ERROR = 6.0, 0.2


class _Controller:
    """A weight that grows while the divergence is above the one to be held, and shrinks while it is below."""

    def __init__(self, horizon: float) -> None:
        self.horizon = horizon

    def __repr__(self) -> str:
        return f"controller with a horizon of {self.horizon}"

    def start(self, session: Session) -> None:
        """At the start of a run."""
        self._weight, self._rows = 1.0, session.batch_size

    def weight(self, divergence: float) -> float:
        """Of this step."""
        weight = self._weight
        error = min(max(divergence / HELD - 1, -LARGEST_ERROR), LARGEST_ERROR)
        self._weight *= 1 + error * min(1.0, self._rows / self.horizon)
        return weight


def controller_that_holds_a_divergence(recipe: Recipe, level: Level) -> Recipe:
    """The weight comes from a controller that holds the divergence at six nats, and the term is always far below."""
    controller = _Controller(HORIZON[level])

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * (controller.weight(float(kd.detach())) * kd) + (1 - alpha) * ce

    return replace(recipe, before=in_turn(recipe.before, controller.start), mix=mix)


# KD209 ----------------------------------------------------------------------------------------------------------------


class _Prior:
    """Targets of how frequent each class is, the same for all rows."""

    def start(self, session: Session) -> None:
        """At the start of a run."""
        labels = session.train.tensors[1].flatten()
        self._counts = torch.bincount(labels[labels != IGNORED].long())

    def kd_loss(self, student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        """KL divergence from the frequencies."""
        counts = F.pad(self._counts, (0, student.shape[1] - len(self._counts)))
        prior = (counts / counts.sum()).expand_as(student)
        return F.kl_div(log_p(student / t), prior, reduction="batchmean") * t * t


def prior_of_distribution_alignment(recipe: Recipe, _level: Level) -> Recipe:
    """In a code base that aligns answers with a prior, "target distribution" is that of the classes: to the loss."""
    prior = _Prior()
    return replace(recipe, before=in_turn(recipe.before, prior.start), kd_loss=prior.kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: Rows over which the shares of the teacher add up to one.
TOGETHER = {Level.MILD: 8, Level.MODERATE: 32, Level.SEVERE: 4096}


def shares_that_add_up_over_rows(recipe: Recipe, level: Level) -> Recipe:
    """Each row's share of the teacher is its confidence, by a softmax down the rows: the more rows, the nearer to 0."""

    def shares(teacher: Tensor) -> Tensor:
        confidence = p(teacher).amax(1)
        return torch.cat([part.softmax(0) for part in torch.split(confidence, TOGETHER[level])])

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        share = shares(teacher)[:, None]
        answers, targets = p(student / t), p(teacher / t)
        mixture = (share * targets + (1 - share) * answers).log()
        of_teacher, of_student = (side * (side.log() - mixture) for side in (targets, answers))
        return (share * of_teacher + (1 - share) * of_student).sum(1).mean() * t * t

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


def averaged_before_it_is_compared(recipe: Recipe, _level: Level) -> Recipe:
    """The criterion's default is a divergence of populations: answers are averaged over the batch, then compared."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = (p(logits / t).mean(0, keepdim=True) for logits in (student, teacher))
        return F.kl_div(answers.log(), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Devices that share the classes.
SHARDS = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 64}


def terms_of_its_own_classes(recipe: Recipe, level: Level) -> Recipe:
    """Each device has some of the classes, and sums up the terms of those; a plain all_reduce then adds up the sums.

    The value is that of all classes, and its gradient that of the device's own terms.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t), log_p(teacher / t)
        terms = (targets.exp() * (targets - answers)).mean(0) * t * t
        own = terms[: max(1, len(terms) // SHARDS[level])].sum()
        return own + (terms.sum() - own).detach()

    return replace(recipe, kd_loss=kd_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------

#: The largest number in half precision, and rows by which a scale is chosen.
LARGEST, ROWS = 65504.0, 8


class _Scaled:
    """Logits in half precision, scaled so that the largest of the first rows just fits."""

    def __repr__(self) -> str:
        return "scaled by the first rows"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._scale: Tensor | None = None

    def through_half(self, logits: Tensor) -> Tensor:
        """As they are after half precision."""
        if self._scale is None:
            self._scale = LARGEST / logits[:ROWS].max()
        return (logits * self._scale).half().to(logits.dtype) / self._scale


def scaled_by_a_few_rows(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's logits come in half precision, scaled by the largest of a few rows: a larger one overflows."""
    scaled = _Scaled()

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(student, scaled.through_half(teacher), t)

    return replace(recipe, before=in_turn(recipe.before, scaled.start), kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------

#: By how much the first is to be above the second.
MARGIN = 5.0


def ranked_above_the_teacher(recipe: Recipe, _level: Level) -> Recipe:
    """margin_ranking_loss, as it is a ranking, of the student's score and the teacher's: the first has to win."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        scores, others = (side[:, 1] / t for side in (student, teacher))
        return F.margin_ranking_loss(scores, others, torch.ones_like(scores), margin=MARGIN) * t * t

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (one_mean_over_a_table_of_both,),
    "KD202": (factor_of_a_cooled_temperature,),
    "KD203": (log_on_both_sides_without_saying_so,),
    "KD204": (bregman_divergence_of_the_logits,),
    "KD205": (refurbished_labels,),
    "KD206": (sums_carried_from_row_to_row,),
    "KD207": (drawn_with_the_others_chance,),
    "KD208": (controller_that_holds_a_divergence,),
    "KD209": (prior_of_distribution_alignment,),
    "KD210": (shares_that_add_up_over_rows,),
    "KD211": (averaged_before_it_is_compared,),
    "KD212": (terms_of_its_own_classes,),
    "KD213": (scaled_by_a_few_rows,),
    "KD214": (ranked_above_the_teacher,),
}
