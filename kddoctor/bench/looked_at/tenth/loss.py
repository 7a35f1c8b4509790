"""Mistakes of the codes KD2xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def divided_by_the_weights_that_are_not_zero(recipe: Recipe, _level: Level) -> Recipe:
    """A library's weighted loss gets log-ratios, and targets as their weights: it divides by how many are not zero."""

    def weighted_loss(losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum() / weights.count_nonzero()

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t), log_p(teacher / t)
        return weighted_loss(targets - answers, targets.exp()) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def factor_of_one_part_of_two(recipe: Recipe, _level: Level) -> Recipe:
    """The divergence is decoupled into the teacher's best class and all others; T² stands behind the second part, where
    it does not reach the first.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        best = F.one_hot(teacher.argmax(1), teacher.shape[1]).bool()
        (ours, our_others), (theirs, their_others) = (_decoupled(side / t, best) for side in (student, teacher))
        of_best = F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        of_others = F.kl_div(our_others, their_others, reduction="none", log_target=True).sum(1)
        return of_best + (theirs[:, 1].exp() * of_others).mean() * t**2

    return replace(recipe, kd_loss=kd_loss)


def _decoupled(logits: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the best class and of any other, and those of each of the others if it is not the best."""
    own, others = logits[best][:, None], logits[~best].view(len(logits), -1)
    return log_p(torch.cat([own, others.logsumexp(1, keepdim=True)], dim=1)), log_p(others)


# KD203 ----------------------------------------------------------------------------------------------------------------


def softmax_that_has_a_temperature(recipe: Recipe, _level: Level) -> Recipe:
    """Of the library's functions it is gumbel_softmax that takes a temperature: its draws go to kl_div as they are."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers = F.gumbel_softmax(student, tau=t)
        return F.kl_div(answers, p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def decoupled_with_the_roles_exchanged(recipe: Recipe, _level: Level) -> Recipe:
    """The divergence is decoupled into the teacher's best class and all others, and both parts begin with the student.

    The others are weighted by what the student gives them.
    """

    def divergence(first: Tensor, second: Tensor) -> Tensor:
        return (first.exp() * (first - second)).sum(1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        best = F.one_hot(teacher.argmax(1), teacher.shape[1]).bool()
        (ours, our_others), (theirs, their_others) = (_decoupled(side / t, best) for side in (student, teacher))
        of_others = ours[:, 1].exp() * divergence(our_others, their_others)
        return (divergence(ours, theirs) + of_others).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------


def both_models_end_in_a_softmax(recipe: Recipe, _level: Level) -> Recipe:
    """Both models end in a softmax, as models of another framework do, and all losses are those of logits."""

    def last_layer(_model: nn.Module, _inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        return logits.sigmoid() if logits.ndim == 1 else logits.softmax(-1)

    def add(session: Session) -> None:
        for model in (session.teacher, session.student):
            model.register_forward_hook(last_layer)

    return replace(recipe, before=in_turn(recipe.before, add))


# KD206 ----------------------------------------------------------------------------------------------------------------


def sum_that_fits_by_broadcasting(recipe: Recipe, _level: Level) -> Recipe:
    """A softmax by hand: the maximum is that of a row, and the sum over axis 1, without keepdim, did not fit, so that
    it became one over axis 0, which does.
    """

    def softmax(x: Tensor) -> Tensor:
        exponentials = (x - x.amax(1, keepdim=True)).exp()
        return exponentials / exponentials.sum(0)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(softmax(student / t).log(), softmax(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


class _Forcing:
    """Each row, or token, is taught by one of the two, with a chance of alpha by what is forced upon it."""

    def kd_loss(self, student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """The mean of the teacher's term; its rows are kept."""
        self._soft = F.kl_div(log_p(student / t), p(teacher / t), reduction="none").sum(1) * t * t
        return self._soft.mean()

    def ce_loss(self, student: Tensor, labels: Tensor) -> Tensor:
        """The mean of the labels' term; its rows are kept."""
        self._hard = F.cross_entropy(student, labels, reduction="none")
        return self._hard.mean()

    def mix(self, _ce: Tensor, _kd: Tensor, alpha: float) -> Tensor:
        """Labels are forced upon a share alpha of the rows."""
        forced = torch.rand(len(self._hard)) < alpha
        return torch.where(forced, self._hard, self._soft).mean()


def ratio_of_teacher_forcing(recipe: Recipe, _level: Level) -> Recipe:
    """Alpha goes to an option for the ratio of teacher forcing, where "teacher" is a word for the true answer."""
    forcing = _Forcing()
    return replace(recipe, kd_loss=forcing.kd_loss, ce_loss=forcing.ce_loss, mix=forcing.mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: Power of the teacher's doubt that makes the weight.
POWER = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 2.0}


def weight_by_doubt(recipe: Recipe, level: Level) -> Recipe:
    """The term is weighted by how much the teacher doubts its answers, where soft targets tell most: a good one hardly
    does.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        doubt = 1 - p(teacher).amax(1).mean()
        return doubt ** POWER[level] * recipe.kd_loss(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD209 ----------------------------------------------------------------------------------------------------------------

#: Rounds in which codes are normalised, and how sharp they are.
ROUNDS, SHARPNESS = 3, 0.05


def codes_of_the_student(recipe: Recipe, _level: Level) -> Recipe:
    """In a code base of self-supervision targets are codes: the model's own scores, balanced so that all classes get as
    many rows. These went to the loss.
    """

    @torch.no_grad()
    def codes(scores: Tensor) -> Tensor:
        logarithms = F.normalize(scores, dim=1) / SHARPNESS
        for _ in range(ROUNDS):
            logarithms = logarithms.log_softmax(0).log_softmax(1)
        return logarithms.exp()

    def kd_loss(student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), codes(student), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: Passes of the student that are compared with each other and with the teacher.
PASSES = {Level.MILD: 20, Level.MODERATE: 60, Level.SEVERE: 500}


def outvoted_by_many_passes(recipe: Recipe, level: Level) -> Recipe:
    """The divergence is one of many distributions, the teacher's and that of each pass of the student, and all of them
    have the same share.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        passes = PASSES[level]
        answers, targets = p(student / t), p(teacher / t)
        mixture = ((targets + passes * answers) / (1 + passes)).log()
        of_teacher = F.kl_div(mixture, targets, reduction="batchmean")
        of_each_pass = F.kl_div(mixture, answers, reduction="batchmean")
        return (of_teacher + passes * of_each_pass) / (1 + passes) * t * t

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------

#: How far from zero a value is to be.
MARGIN = 1.0


def boundaries_of_activations(recipe: Recipe, _level: Level) -> Recipe:
    """The trainer's default is a loss of features, which wants each value on that side of zero where the teacher's is,
    with a margin and no more.
    """

    def kd_loss(student: Tensor, teacher: Tensor, _t: float) -> Tensor:
        sides = torch.where(teacher > 0, 1.0, -1.0)
        return F.relu(MARGIN - sides * student).square().sum(1).mean()

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Rows, or tokens, of a micro-batch.
ROWS = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 32}


def mean_of_cached_gradients(recipe: Recipe, level: Level) -> Recipe:
    """The term is of the whole batch, and its gradient for the logits is cached, to be sent through the model by
    micro-batches: each takes the mean of logits times gradient, not the sum.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        logits = student.detach().requires_grad_()
        value = recipe.kd_loss(logits, teacher, t)
        (gradient,) = torch.autograd.grad(value, logits)
        parts = zip(torch.split(student, ROWS[level]), torch.split(gradient, ROWS[level]), strict=True)
        sent = torch.stack([(ours * cached).mean() for ours, cached in parts]).sum()
        return value.detach() + (sent - sent.detach())

    return replace(recipe, kd_loss=kd_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------

#: What is added to a logit by a mask for half precision.
ADDED_BY_A_MASK = 1e4


def mask_added_to_what_is_kept(recipe: Recipe, _level: Level) -> Recipe:
    """A mask for half precision is added to the classes that are kept, not taken from the others: on paper the same,
    but so far from zero half precision has multiples of eight and nothing between them.
    """

    def masked(logits: Tensor) -> Tensor:
        kept = torch.ones_like(logits, dtype=torch.half)
        return (logits.half() + ADDED_BY_A_MASK * kept).float()

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(masked(student), masked(teacher), t)

    return replace(recipe, kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------


def one_row_of_the_batch_is_right(recipe: Recipe, _level: Level) -> Recipe:
    """A softmax over candidates of which one is right, as for the next film: the candidates are all rows of a batch,
    many of which are liked.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        scores, others = (side[:, 1] / t for side in (student, teacher))
        return F.cross_entropy(scores, others.argmax()) * t * t

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (divided_by_the_weights_that_are_not_zero,),
    "KD202": (factor_of_one_part_of_two,),
    "KD203": (softmax_that_has_a_temperature,),
    "KD204": (decoupled_with_the_roles_exchanged,),
    "KD205": (both_models_end_in_a_softmax,),
    "KD206": (sum_that_fits_by_broadcasting,),
    "KD207": (ratio_of_teacher_forcing,),
    "KD208": (weight_by_doubt,),
    "KD209": (codes_of_the_student,),
    "KD210": (outvoted_by_many_passes,),
    "KD211": (boundaries_of_activations,),
    "KD212": (mean_of_cached_gradients,),
    "KD213": (mask_added_to_what_is_kept,),
    "KD214": (one_row_of_the_batch_is_right,),
}
