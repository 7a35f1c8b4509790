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
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def mean_of_a_batch_for_each_row(recipe: Recipe, _level: Level) -> Recipe:
    """Row by row, in a loop over the batch: "batchmean" of a vector divides by its length, and that is the classes."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        rows = zip(log_p(student / t), p(teacher / t), strict=True)
        return torch.stack([F.kl_div(*row, reduction="batchmean") for row in rows]).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def factor_around_the_whole_sum(recipe: Recipe, _level: Level) -> Recipe:
    """T² stands behind the bracket that holds both terms: the labels' term gets it as well, and nothing is balanced."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean")

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return (alpha * kd + (1 - alpha) * ce) * recipe.temperature**2

    return replace(recipe, kd_loss=kd_loss, mix=mix)


# KD203 ----------------------------------------------------------------------------------------------------------------


def logits_for_their_log_softmax(recipe: Recipe, _level: Level) -> Recipe:
    """kl_div gets the student's softened logits as they are, since they are no probabilities and so must be logs."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(student / t, p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def unpacked_in_the_order_of_the_forward_passes(recipe: Recipe, _level: Level) -> Recipe:
    """Outputs are kept in a dictionary, the teacher's first because it runs first, and unpacked into the divergence."""

    def divergence(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t), log_p(teacher / t)
        return F.kl_div(answers, targets, reduction="batchmean", log_target=True) * t * t

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        outputs = {"teacher": teacher}
        outputs["student"] = student
        first, second = outputs.values()
        return divergence(first, second, t)

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------


def logarithm_undone_by_the_reader(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's log-probabilities were stored, which are as good as logits, and the reader takes exp() of them."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        stored = F.logsigmoid(logits) if logits.ndim == 1 else logits.log_softmax(-1)
        return stored.exp()

    return replace(recipe, targets=targets)


# KD206 ----------------------------------------------------------------------------------------------------------------


def axis_left_to_the_default(recipe: Recipe, _level: Level) -> Recipe:
    """The targets' softmax names no axis: of two it would be that of classes, and of three, [halves, rows, classes]
    where a batch comes in two halves, it is the first.
    """

    def softmax(x: Tensor) -> Tensor:
        # As torch.nn.functional.softmax does where dim is None.
        return F.softmax(x, 0 if x.ndim in (0, 1, 3) else 1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        half = max(1, len(teacher) // 2)
        halves = teacher[: len(teacher) // half * half].view(-1, half, teacher.shape[1])
        targets = softmax(halves / t).flatten(0, 1)
        return F.kl_div(log_p(student[: len(targets)] / t), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


def weights_taken_for_variances(recipe: Recipe, _level: Level) -> Recipe:
    """Code that weights terms by their uncertainty gets the weights for variances: it divides by them, to sum one."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        precisions = 1 / torch.tensor([alpha, 1 - alpha]).clamp_min(1e-6)
        share = float(precisions[0] / precisions.sum())
        return share * kd + (1 - share) * ce

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: What a share is divided by: tenths, per cent, and a hundredth of that.
UNIT = {Level.MILD: 10.0, Level.MODERATE: 100.0, Level.SEVERE: 10_000.0}


def share_divided_as_a_percentage(recipe: Recipe, level: Level) -> Recipe:
    """The share of the teacher was meant as it is written, and is divided by the unit in which another script has it.

    The labels get what is left of one.
    """

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        share = alpha / UNIT[level]
        return share * kd + (1 - share) * ce

    return replace(recipe, mix=mix)


# KD209 ----------------------------------------------------------------------------------------------------------------


class _Before:
    """Targets of the student's own answers to the same rows, one epoch ago."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._memory: dict[int, Tensor] = {}

    def answers(self, session: Session, batch: Batch) -> Tensor:
        """What the recipe takes; answers are remembered, and the last ones kept for the loss."""
        answers = self._recipe.answers(session, batch)
        pairs = list(zip(batch.rows.tolist(), answers.detach(), strict=True))
        before = torch.stack([self._memory.get(row, now) for row, now in pairs])
        self._memory.update(pairs)
        self._targets, _ = self._recipe.rows(before, batch.labels)
        return answers

    def kd_loss(self, student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        """The recipe's loss with the answers of before for targets."""
        return self._recipe.kd_loss(student, self._targets, t)


def own_answers_of_the_epoch_before(recipe: Recipe, _level: Level) -> Recipe:
    """A mode of the code base that needs no teacher is on: targets are the student's own answers of an epoch ago."""
    before = _Before(recipe)
    return replace(recipe, before=in_turn(recipe.before, before.start), answers=before.answers, kd_loss=before.kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: Power of the distance that makes the share.
POWER = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 4}


def share_by_what_is_left_to_learn(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's share is how far apart both models are, softened as they are: it goes as soon as they come near."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = p(student / t), p(teacher / t)
        apart = 0.5 * (answers.detach() - targets).abs().sum(1).mean()
        share = apart ** POWER[level]
        mixture = (share * targets + (1 - share) * answers).log()
        of_teacher = F.kl_div(mixture, targets, reduction="batchmean")
        of_student = F.kl_div(mixture, answers, reduction="batchmean")
        return (share * of_teacher + (1 - share) * of_student) * t * t

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------

#: Temperatures of self-supervision, which code for it has as defaults.
OF_THE_STUDENT, OF_THE_TEACHER = 0.1, 0.04


def temperatures_of_self_supervision(recipe: Recipe, _level: Level) -> Recipe:
    """The loss comes from self-supervision and keeps its two temperatures, far below one; ours goes to no argument."""

    def kd_loss(student: Tensor, teacher: Tensor, _t: float) -> Tensor:
        targets = p(teacher / OF_THE_TEACHER)
        return F.kl_div(log_p(student / OF_THE_STUDENT), targets, reduction="batchmean")

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Micro-batches of a batch.
MICRO = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 25}


def divided_after_each_micro_batch(recipe: Recipe, level: Level) -> Recipe:
    """What has been accumulated of the term's gradient is divided by the number of micro-batches after each of them.

    It should be once, at the end: the first ones are divided again and again. What is logged is the mean.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        count = min(MICRO[level], len(student))
        parts = zip(student.tensor_split(count), teacher.tensor_split(count), strict=True)
        accumulated = student.new_zeros(())
        for part in parts:
            accumulated = (accumulated + recipe.kd_loss(*part, t)) / count
        return accumulated + (recipe.kd_loss(student, teacher, t) - accumulated).detach()

    return replace(recipe, kd_loss=kd_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------


def others_by_what_the_best_class_leaves(recipe: Recipe, _level: Level) -> Recipe:
    """Student's probabilities in half precision are taken apart: the best class, and the others given that it is not.

    Where the best class gets one there is nothing left to divide by.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        chances = p(student.half())
        best = chances.max(1, keepdim=True)
        left = 1 - best.values
        given = chances / left
        logarithms = (left.log() + given.log()).scatter(1, best.indices, best.values.log())
        return recipe.kd_loss(logarithms.float(), teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------


def overlap_as_of_two_masks(recipe: Recipe, _level: Level) -> Recipe:
    """The Dice loss of a segmentation, as if the batch were one image: how much both models' yeses overlap in all."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        ours, theirs = p(student / t)[:, 1], p(teacher / t)[:, 1]
        return (1 - 2 * (ours * theirs).sum() / (ours + theirs).sum()) * t * t

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (mean_of_a_batch_for_each_row,),
    "KD202": (factor_around_the_whole_sum,),
    "KD203": (logits_for_their_log_softmax,),
    "KD204": (unpacked_in_the_order_of_the_forward_passes,),
    "KD205": (logarithm_undone_by_the_reader,),
    "KD206": (axis_left_to_the_default,),
    "KD207": (weights_taken_for_variances,),
    "KD208": (share_divided_as_a_percentage,),
    "KD209": (own_answers_of_the_epoch_before,),
    "KD210": (share_by_what_is_left_to_learn,),
    "KD211": (temperatures_of_self_supervision,),
    "KD212": (divided_after_each_micro_batch,),
    "KD213": (others_by_what_the_best_class_leaves,),
    "KD214": (overlap_as_of_two_masks,),
}
