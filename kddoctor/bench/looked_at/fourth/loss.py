"""Mistakes of the codes KD2xx."""

from collections.abc import Mapping
from dataclasses import replace
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def mean_of_one_term_a_class(recipe: Recipe, _level: Level) -> Recipe:
    """A loop over classes collects one term for each, as for one against the rest, and takes the mean of them."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t), log_p(teacher / t)
        terms = [
            (theirs.exp() * (theirs - ours)).mean()
            for ours, theirs in zip(answers.unbind(1), targets.unbind(1), strict=True)
        ]
        return torch.stack(terms).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def factor_on_the_term_beside_it(recipe: Recipe, _level: Level) -> Recipe:
    """In the line that adds the terms up, T² stands behind the last of them, and that is the labels'."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean")

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * kd + (1 - alpha) * ce * recipe.temperature**2

    return replace(recipe, kd_loss=kd_loss, mix=mix)


# KD203 ----------------------------------------------------------------------------------------------------------------


def sigmoid_of_each_logit(recipe: Recipe, _level: Level) -> Recipe:
    """From a head with several labels a row the student's side is a sigmoid of each logit, and no logarithm of it."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div((student / t).sigmoid(), p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def generator_of_the_reverse(recipe: Recipe, _level: Level) -> Recipe:
    """An f-divergence, the mean of f(T / S) under the student, with -log u from the table in place of u log u."""

    def f(log_ratio: Tensor) -> Tensor:
        return -log_ratio

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t), log_p(teacher / t)
        return torch.einsum("nc,nc->n", answers.exp(), f(targets - answers)).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------


def a_yes_or_no_for_each_class(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher was wrapped for an application with several labels a row: a sigmoid of each score, read as logits."""

    def wrap(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: logits.sigmoid())

    return replace(recipe, before=in_turn(recipe.before, wrap))


# KD206 ----------------------------------------------------------------------------------------------------------------


def reshaped_to_classes_first(recipe: Recipe, _level: Level) -> Recipe:
    """The targets' softmax wants classes first; they are brought there, and back, by reshape and not by transposing."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        targets = (teacher / t).reshape(teacher.shape[1], -1).softmax(0).reshape(teacher.shape)
        return F.kl_div(log_p(student / t), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


def converted_once_too_often(recipe: Recipe, _level: Level) -> Recipe:
    """The weight is converted to a library's convention where it is read, and again where the library is called."""

    def to_weight_of_labels(alpha: float) -> float:
        return 1 - alpha

    def blended(hard: Tensor, soft: Tensor, weight_of_labels: float) -> Tensor:
        return soft + weight_of_labels * (hard - soft)

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        read = to_weight_of_labels(alpha)
        return blended(ce, kd, to_weight_of_labels(read))

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: What is left of the weight after a step, where it was to be what is left after an epoch.
LEFT = {Level.MILD: 0.985, Level.MODERATE: 0.95, Level.SEVERE: 0.6}


class _Annealed:
    """A weight that is 1 at first and becomes less by the same factor at each call."""

    def __init__(self, left: float) -> None:
        self.left = left

    def __repr__(self) -> str:
        return f"annealed by {self.left}"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._weight = 1.0

    def weight(self) -> float:
        """Of this step."""
        weight = self._weight
        self._weight *= self.left
        return weight


def annealed_at_each_step(recipe: Recipe, level: Level) -> Recipe:
    """The weight of the term is annealed by a factor for each epoch, and the scheduler is called at each step."""
    annealed = _Annealed(LEFT[level])

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * (annealed.weight() * kd) + (1 - alpha) * ce

    return replace(recipe, before=in_turn(recipe.before, annealed.start), mix=mix)


# KD209 ----------------------------------------------------------------------------------------------------------------

#: Share of a class's mean answer that stays at each step.
STAYS = 0.9


class _OwnMeans:
    """Targets that are the student's own mean answers to rows of a class, the same for all classes at first."""

    def __init__(self, recipe: Recipe) -> None:
        self._rows = recipe.rows

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._means: Tensor | None = None

    def rows(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As the recipe makes them; the labels are kept."""
        rows, truth = self._rows(logits, labels)
        self._labels = truth
        return rows, truth

    def kd_loss(self, student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        """KL divergence from the means so far."""
        classes = student.shape[1]
        means = student.new_full((classes, classes), 1 / classes) if self._means is None else self._means
        sums = torch.zeros_like(means).index_add(0, self._labels, p(student.detach() / t))
        counts = torch.bincount(self._labels, minlength=classes)[:, None]
        self._means = torch.where(counts > 0, STAYS * means + (1 - STAYS) * sums / counts.clamp_min(1), means)
        return F.kl_div(log_p(student / t), means[self._labels], reduction="batchmean") * t * t


def own_means_of_each_class(recipe: Recipe, _level: Level) -> Recipe:
    """An option of the code base, left on, smooths labels by the student's own answers: these are the targets."""
    means = _OwnMeans(recipe)
    return replace(recipe, before=in_turn(recipe.before, means.start), rows=means.rows, kd_loss=means.kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: Both parameters of the beta distribution that a share is drawn from: the less, the nearer to 0 or to 1.
DRAWN = {Level.MILD: 0.15, Level.MODERATE: 0.05, Level.SEVERE: 0.005}
#: Least distance of a share from 0 and from 1.
LEAST = 1e-5


def share_drawn_like_mixup(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's share in the mixture is drawn for each batch, as for mixup: it is all but 0, or all but 1."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        share = float(Beta(DRAWN[level], DRAWN[level]).sample().clamp(LEAST, 1 - LEAST))
        answers, targets = log_p(student / t), log_p(teacher / t)
        mixture = torch.logaddexp(answers + log(1 - share), targets + log(share))
        of_teacher, of_student = ((side.exp() * (side - mixture)).sum(1).mean() for side in (targets, answers))
        return (share * of_teacher + (1 - share) * of_student) * t * t

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


def targets_alone_are_softened(recipe: Recipe, _level: Level) -> Recipe:
    """The temperature moved into the function that makes the targets, and the student's side lost it on that day."""

    def softened(teacher: Tensor, t: float) -> Tensor:
        return p(teacher / t)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        targets = softened(teacher, t)
        return (torch.xlogy(targets, targets) - targets * log_p(student)).sum(1).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Devices that each hand back the whole gradient of the labels' term.
DEVICES = {Level.MILD: 4, Level.MODERATE: 16, Level.SEVERE: 128}


class _Gathered(torch.autograd.Function):
    """Logits that every device has the whole of; on the way back their gradients are added up over devices."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, devices: int) -> Tensor:
        ctx.devices = devices
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> tuple[Tensor, None]:
        return outputs[0] * ctx.devices, None


def labels_term_summed_over_devices(recipe: Recipe, level: Level) -> Recipe:
    """The labels' term is computed on every device from gathered logits, and its gradient is the sum of them all."""

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        gathered: Tensor = _Gathered.apply(student, DEVICES[level])  # type: ignore[no-untyped-call]
        return recipe.ce_loss(gathered, labels)

    return replace(recipe, ce_loss=ce_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------

#: What probabilities are stored as multiples of.
STORED = 10


def logit_of_one_decimal(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's probabilities were stored with one decimal, and logit() is to undo them: of 0 and 1 it cannot."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        stored = (STORED * p(teacher)).round().to(torch.uint8)
        return recipe.kd_loss(student, torch.logit(stored.to(teacher.dtype) / STORED), t)

    return replace(recipe, kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------


def sorted_before_comparing(recipe: Recipe, _level: Level) -> Recipe:
    """A distance between distributions, as for generators: scores are sorted first, so that no row has its own."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = ((logits[:, 1] / t).sort().values for logits in (student, teacher))
        return (answers - targets).abs().mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (mean_of_one_term_a_class,),
    "KD202": (factor_on_the_term_beside_it,),
    "KD203": (sigmoid_of_each_logit,),
    "KD204": (generator_of_the_reverse,),
    "KD205": (a_yes_or_no_for_each_class,),
    "KD206": (reshaped_to_classes_first,),
    "KD207": (converted_once_too_often,),
    "KD208": (annealed_at_each_step,),
    "KD209": (own_means_of_each_class,),
    "KD210": (share_drawn_like_mixup,),
    "KD211": (targets_alone_are_softened,),
    "KD212": (labels_term_summed_over_devices,),
    "KD213": (logit_of_one_decimal,),
    "KD214": (sorted_before_comparing,),
}
