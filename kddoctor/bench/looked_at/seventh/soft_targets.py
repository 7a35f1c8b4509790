"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session, batches

# KD301 ----------------------------------------------------------------------------------------------------------------

#: Steps in which the scale is fitted, and Adam's rate for its logarithm.
FITTED = {Level.MILD: 12, Level.MODERATE: 25, Level.SEVERE: 50}
FITTED_RATE = 0.1


def calibrated_on_rows_that_it_gets_right(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a teacher that was calibrated on rows from which its errors had been taken: the surer, the better."""

    def calibrate(session: Session) -> None:
        logits = session.cached_by_row.flatten(0, -2)
        answers = logits.argmax(1)
        logarithm = torch.zeros((), requires_grad=True)
        optimizer = Adam([logarithm], FITTED_RATE)
        for _ in range(FITTED[level]):
            optimizer.zero_grad()
            F.cross_entropy(logits * logarithm.exp(), answers).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        scale = float(logarithm.detach().exp())
        session.teacher.register_forward_hook(lambda _module, _inputs, given: scale * given)
        del session.cached_by_row

    return replace(recipe, temperature=1.0, before=in_turn(recipe.before, calibrate))


# KD302 ----------------------------------------------------------------------------------------------------------------

#: How many times the task's own temperature.
HOTTER = {Level.MILD: 2.0, Level.MODERATE: 6.0, Level.SEVERE: 25.0}


def hot_hellinger_distance(recipe: Recipe, level: Level) -> Recipe:
    """Hellinger's distance, squared, without T² and said to be so, at a temperature that suits a KL with the factor."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        apart = p(student / t).sqrt() - p(teacher / t).sqrt()
        return apart.square().sum(1).mean()

    return replace(
        recipe,
        loss="custom",
        temperature=HOTTER[level] * recipe.temperature,
        temperature_squared=False,
        kd_loss=kd_loss,
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Weight of the cosine in the teacher's own loss.
OF_THE_COSINE = {Level.MILD: 0.3, Level.MODERATE: 1.5, Level.SEVERE: 10.0}


def cosine_to_the_one_hot(recipe: Recipe, level: Level) -> Recipe:
    """A term of the teacher's recipe for small sets turns its logits towards the one-hot label: the others are zero."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        right = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        away = 1 - F.cosine_similarity(logits, right, dim=1).mean()
        return F.cross_entropy(logits, labels) + OF_THE_COSINE[level] * away

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Share of the teacher's rows with labels of an earlier model, and buckets in which words, or users and films, count.
BY_A_MODEL = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}
BUCKETS = 512


def labels_of_a_model_that_saw_one_half(recipe: Recipe, level: Level) -> Recipe:
    """A part of the teacher's rows have labels of an earlier model, which saw the first half of each row alone."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        values = inputs.flatten(1)
        guesses = _nearest_class(values[:, : values.shape[1] // 2], labels)
        by_a_model = torch.arange(len(labels)) < BY_A_MODEL[level] * len(labels)
        return TensorDataset(inputs, torch.where(by_a_model, guesses, labels))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


def _nearest_class(values: Tensor, labels: Tensor) -> Tensor:
    """[N] the class whose mean, of pixels or of how often a number occurs, has the smallest angle to the row."""
    rows = values
    if not values.is_floating_point():
        rows = torch.zeros(len(values), BUCKETS).scatter_add_(1, values % BUCKETS, torch.ones(values.shape))
    rows = rows - rows.mean(0)
    means = torch.zeros(int(labels.max()) + 1, rows.shape[1]).index_add_(0, labels, rows)
    return (rows @ F.normalize(means, dim=1).t()).argmax(1)


# KD305 ----------------------------------------------------------------------------------------------------------------

#: Length of the features that the student's head reads.
LENGTH = {Level.MILD: 1.5, Level.MODERATE: 0.7, Level.SEVERE: 0.3}


def features_of_one_length(recipe: Recipe, level: Level) -> Recipe:
    """The student's features are normalised below its head, for a search by angle; a short length bounds its logits."""

    def normalise(_head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return LENGTH[level] * F.normalize(inputs[0], dim=-1)

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        head = [layer for layer in student.modules() if isinstance(layer, nn.Linear)][-1]
        head.register_forward_pre_hook(normalise)
        return student

    return replace(recipe, change_student=change_student)


# KD306 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes whose probabilities were stored; one at the least.
STORED = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.01}


def rest_of_the_mass_spread_evenly(recipe: Recipe, level: Level) -> Recipe:
    """Of the softened targets the largest were stored, and all other classes share what is missing from one alike."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        targets = p(teacher / t)
        count = max(1, round(STORED[level] * targets.shape[1]))
        stored = targets.topk(count)
        missing = (1 - stored.values.sum(1, keepdim=True)).clamp_min(0)
        filled = (missing / (targets.shape[1] - count)).expand_as(targets).scatter(1, stored.indices, stored.values)
        return F.kl_div(log_p(student / t), filled, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: Probability that goes to the least likely class, and what is left to each of the others.
TO_THE_LEAST = {Level.MILD: 0.04, Level.MODERATE: 0.15, Level.SEVERE: 0.45}
LEFT = 1e-4


def runner_up_that_is_the_least_likely(recipe: Recipe, level: Level) -> Recipe:
    """A service against copying gives its best class, and what is not for that to the class that is least likely."""

    def guard(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _guarded(logits, TO_THE_LEAST[level]))

    return replace(recipe, before=in_turn(recipe.before, guard))


def _guarded(logits: Tensor, share: float) -> Tensor:
    given = torch.full_like(logits, LEFT)
    given = given.scatter(-1, logits.argmin(-1, keepdim=True), share)
    return given.scatter(-1, logits.argmax(-1, keepdim=True), 1 - share).log()


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Small models that vote with the teacher, their epochs as a share of the student's, and Adam's rate.
VOTERS = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 5}
VOTERS_EPOCHS, VOTERS_RATE = 0.6, 1e-2
#: Rows that a small model learns, as a share of all.
VOTERS_ROWS = 0.3
#: The least chance of a class, and of any other.
LEAST = 1e-6


class _AnyOfThem(nn.Module):
    """Several models, and for each class the chance that one of them at least says so."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        given = [member(inputs) for member in self.members]
        if given[0].ndim > 1:
            none = torch.stack([torch.log1p(-p(logits).clamp(LEAST, 1 - LEAST)) for logits in given]).sum(0)
            return torch.log(-torch.expm1(none))
        none = -torch.stack([F.softplus(logits) for logits in given]).sum(0)
        return torch.log(-torch.expm1(none)) - none


def as_alarms_any_of_which_is_enough(recipe: Recipe, level: Level) -> Recipe:
    """Several teachers are put together as alarms are, any of which is enough: a class that one of them names is in."""

    def gather(session: Session) -> None:
        session.teacher = _AnyOfThem([session.teacher, *(_voter(recipe, session, at) for at in range(VOTERS[level]))])

    return replace(recipe, before=in_turn(gather, recipe.before))


def _voter(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on a few of its rows; the loop's random numbers stay as they were."""
    seed = session.seed + 211 * (number + 1)
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = session.train.tensors
    few = torch.randperm(len(inputs), generator=generator)[: max(2, round(VOTERS_ROWS * len(inputs)))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = deepcopy(session.student).train()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        optimizer = Adam(model.parameters(), VOTERS_RATE)
        for _ in range(max(1, round(VOTERS_EPOCHS * recipe.epochs))):
            for numbers in batches(len(few), recipe.batch_size, generator):
                logits, truth = recipe.rows(model(inputs[few[numbers]]), labels[few[numbers]])
                optimizer.zero_grad()
                recipe.ce_loss(logits, truth).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (calibrated_on_rows_that_it_gets_right,),
    "KD302": (hot_hellinger_distance,),
    "KD303": (cosine_to_the_one_hot,),
    "KD304": (labels_of_a_model_that_saw_one_half,),
    "KD305": (features_of_one_length,),
    "KD306": (rest_of_the_mass_spread_evenly,),
    "KD307": (runner_up_that_is_the_least_likely,),
    "KD308": (as_alarms_any_of_which_is_enough,),
}
