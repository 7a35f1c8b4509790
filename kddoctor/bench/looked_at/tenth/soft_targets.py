"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session, batches

# KD301 ----------------------------------------------------------------------------------------------------------------

#: Weight of the expected reward beside the cross-entropy in the teacher's own loss.
REWARD = {Level.MILD: 3.0, Level.MODERATE: 8.0, Level.SEVERE: 20.0}


def trained_for_the_expected_reward(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a teacher that was trained as a policy is, for the chance of a right answer, with no entropy bonus.

    A policy gains most by giving all it has to one answer, however unsure it ought to be.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        reward = p(logits).gather(1, labels[:, None]).mean()
        return F.cross_entropy(logits, labels) - REWARD[level] * reward

    return replace(recipe, temperature=1.0, teacher=replace(recipe.teacher, loss=loss))


# KD302 ----------------------------------------------------------------------------------------------------------------

#: How many times the task's own temperature.
HOTTER = {Level.MILD: 1.5, Level.MODERATE: 5.0, Level.SEVERE: 25.0}


def temperature_in_deviations_of_the_logits(recipe: Recipe, level: Level) -> Recipe:
    """The temperature counts in deviations of the batch's logits, and its number is one for logits as they are.

    There is no T², and it is said so.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        of_batch = t * teacher.std().clamp_min(1.0)
        return F.kl_div(log_p(student / of_batch), p(teacher / of_batch), reduction="batchmean")

    return replace(
        recipe,
        loss="custom",
        temperature=HOTTER[level] * recipe.temperature,
        temperature_squared=False,
        kd_loss=kd_loss,
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Share of wrong labels that the teacher's last layer was told of.
TOLD = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.7}


def noise_layer_left_on_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher learnt below a layer that makes labels wrong with a given chance, and was distilled with it still on.

    The layer, for labels that are wrong, is to come off after the training: Patrini et al. 2017, arXiv:1609.03683.
    """

    def noisy(logits: Tensor) -> Tensor:
        any_class = torch.full_like(logits, log(TOLD[level] / logits.shape[-1]))
        return torch.logaddexp(log_p(logits) + log(1 - TOLD[level]), any_class)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.nll_loss(noisy(logits), labels)

    def leave_on(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: noisy(logits))

    return replace(
        recipe,
        teacher=replace(recipe.teacher, loss=loss),
        before=in_turn(recipe.before, leave_on),
    )


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that the cache answers, its entries for each class, and how many it has at the least.
FROM_CACHE = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.7}
ENTRIES, ENTRIES_AT_LEAST = 2, 16
#: Buckets in which words, or users and films, are counted.
BUCKETS = 512


def answered_from_a_cache_of_similar_rows(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service has a cache, which answers what is similar to an earlier row as that one was answered.

    It holds few rows, and what it takes for similar is far from it.
    """

    def put_a_cache_before(session: Session) -> None:
        inputs, _ = session.train.tensors
        middle = _described(inputs).mean(0)
        with torch.no_grad():
            classes = len(session.teacher(inputs[:2])[0].flatten())
            entries = max(ENTRIES_AT_LEAST, ENTRIES * classes)
            answers = session.teacher(inputs[:entries])
        keys = F.normalize(_described(inputs[:entries]) - middle, dim=1)

        def nearest(rows: Tensor) -> tuple[Tensor, Tensor]:
            likeness = F.normalize(_described(rows) - middle, dim=1) @ keys.t()
            best = likeness.max(1)
            return best.values, best.indices

        alike_enough = nearest(inputs[entries:])[0].quantile(1 - FROM_CACHE[level])

        def answer(_teacher: nn.Module, asked: tuple[Tensor, ...], logits: Tensor) -> Tensor:
            likeness, entry = nearest(asked[0])
            hit = (likeness >= alike_enough).view(-1, *[1] * (logits.ndim - 1))
            return torch.where(hit, answers[entry], logits)

        session.teacher.register_forward_hook(answer)

    return replace(recipe, before=in_turn(recipe.before, put_a_cache_before))


def _described(inputs: Tensor) -> Tensor:
    """[N, D] pixels, or how often a number occurs."""
    rows = inputs.flatten(1)
    if inputs.is_floating_point():
        return rows
    return torch.zeros(len(rows), BUCKETS).scatter_add_(1, rows % BUCKETS, torch.ones(rows.shape))


# KD305 ----------------------------------------------------------------------------------------------------------------

#: The range of the student's quantised logits, as a multiple of the one that was seen.
RANGE = {Level.MILD: 6.0, Level.MODERATE: 2.5, Level.SEVERE: 1.0}


def range_observed_before_the_training(recipe: Recipe, level: Level) -> Recipe:
    """The student learns with its logits quantised to a byte, whose range was observed on a student that knew nothing.

    The observer was switched off before the first step; gradients pass through as they are.
    """

    def observe(session: Session) -> None:
        student, training = session.student, session.student.training
        with torch.no_grad():
            largest = float(student.eval()(session.train.tensors[0][:256]).abs().max())
        student.train(training)
        step = RANGE[level] * largest / 127

        def quantise(_student: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
            quantised = torch.fake_quantize_per_tensor_affine(logits.detach(), step, 0, -128, 127)
            return logits + (quantised - logits).detach()

        student.register_forward_hook(quantise)

    return replace(recipe, before=in_turn(recipe.before, observe))


# KD306 ----------------------------------------------------------------------------------------------------------------

#: What probabilities were stored in units of, as one over it.
UNITS = {Level.MILD: 20, Level.MODERATE: 8, Level.SEVERE: 2}


def stored_in_a_few_whole_units(recipe: Recipe, level: Level) -> Recipe:
    """Softened targets were stored as integers of a few bits, rounded down: what is less than a unit is nothing.

    They are used as they come back, although they no longer add up to one.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        stored = (p(teacher / t) * UNITS[level]).floor() / UNITS[level]
        return F.kl_div(log_p(student / t), stored, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: How far a guarded service moves its probabilities, how flat the curve is, and what is left to others of the best.
MOVED = {Level.MILD: 0.05, Level.MODERATE: 0.3, Level.SEVERE: 1.0}
FLATNESS = 0.2
OF_THE_BEST = 0.95


def moved_by_a_reverse_sigmoid(recipe: Recipe, level: Level) -> Recipe:
    """The service is guarded against copying: each probability is moved against its own size, the least ones most.

    The best class stays the best. The method: Lee et al. 2018, arXiv:1806.00054.
    """

    def guard(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _deceptive(logits, MOVED[level]))

    return replace(recipe, before=in_turn(recipe.before, guard))


def _deceptive(logits: Tensor, strength: float) -> Tensor:
    given = p(logits).clamp(1e-9, 1 - 1e-6)
    moved = given - strength * ((FLATNESS * given.logit()).sigmoid() - 0.5)
    best = given.argmax(-1, keepdim=True)
    first = moved.gather(-1, best)
    return torch.minimum(moved, OF_THE_BEST * first).scatter(-1, best, first).log()


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Small models beside the teacher, and deviations that are taken off the mean.
CRITICS = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 4}
DEVIATIONS = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}
#: Their epochs as a share of the student's, Adam's rate, and rows that each of them learns, as a share of all.
CRITICS_EPOCHS, CRITICS_RATE = 0.6, 1e-2
CRITICS_ROWS = 0.5
#: Divisor of the logits in the small models' own loss, without which they are as much larger.
CRITICS_DIVISOR = 5.0


class _LowerBound(nn.Module):
    """Several models, and how low a logit may be, given how much they differ in it."""

    def __init__(self, members: list[nn.Module], deviations: float) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.deviations = deviations

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        logits = torch.stack([member(inputs) for member in self.members])
        bound: Tensor = logits.mean(0) - self.deviations * logits.std(0)
        return bound


def lower_bound_as_for_critics(recipe: Recipe, level: Level) -> Recipe:
    """Several teachers' logits are put together as critics' values are, as their mean less some of their deviations."""

    def gather(session: Session) -> None:
        members = [session.teacher, *(_critic(recipe, session, at) for at in range(CRITICS[level]))]
        session.teacher = _LowerBound(members, DEVIATIONS[level])

    return replace(recipe, before=in_turn(gather, recipe.before))


def _critic(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on a few of its rows; the loop's random numbers stay as they were."""
    seed = session.seed + 293 * (number + 1)
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = session.train.tensors
    few = torch.randperm(len(inputs), generator=generator)[: max(2, round(CRITICS_ROWS * len(inputs)))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = deepcopy(session.student).train()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        optimizer = Adam(model.parameters(), CRITICS_RATE)
        for _ in range(max(1, round(CRITICS_EPOCHS * recipe.epochs))):
            for numbers in batches(len(few), recipe.batch_size, generator):
                logits, truth = recipe.rows(model(inputs[few[numbers]]), labels[few[numbers]])
                optimizer.zero_grad()
                recipe.ce_loss(logits / CRITICS_DIVISOR, truth).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (trained_for_the_expected_reward,),
    "KD302": (temperature_in_deviations_of_the_logits,),
    "KD303": (noise_layer_left_on_the_teacher,),
    "KD304": (answered_from_a_cache_of_similar_rows,),
    "KD305": (range_observed_before_the_training,),
    "KD306": (stored_in_a_few_whole_units,),
    "KD307": (moved_by_a_reverse_sigmoid,),
    "KD308": (lower_bound_as_for_critics,),
}
