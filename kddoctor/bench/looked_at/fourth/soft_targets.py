"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session, batches

# KD301 ----------------------------------------------------------------------------------------------------------------

#: By how much the right class was to lead all the others in the teacher's own loss.
LEAD = {Level.MILD: 8.0, Level.MODERATE: 15.0, Level.SEVERE: 40.0}


def hinge_with_a_wide_margin(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a teacher that was trained by a hinge loss until its best class led by a wide margin."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.multi_margin_loss(logits, labels, margin=LEAD[level])

    return replace(recipe, temperature=1.0, teacher=replace(recipe.teacher, loss=loss))


# KD302 ----------------------------------------------------------------------------------------------------------------

#: How many times the task's own temperature.
WARMER = {Level.MILD: 2.5, Level.MODERATE: 6.0, Level.SEVERE: 20.0}


def hot_reverse_divergence(recipe: Recipe, level: Level) -> Recipe:
    """A reverse divergence without T², and said to be so, at a temperature that suits distillation with the factor."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t), log_p(teacher / t)
        return (answers.exp() * (answers - targets)).sum(1).mean()

    return replace(
        recipe,
        loss="reverse-kl",
        temperature=WARMER[level] * recipe.temperature,
        temperature_squared=False,
        kd_loss=kd_loss,
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Probability that a label of a batch is replaced by any class.
DISTURBED = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.65}


def labels_disturbed_in_each_batch(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's recipe regularises by the labels: in each batch some are replaced by any class, anew each time."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        drawn = torch.randint(logits.shape[1], labels.shape)
        disturbed = (torch.rand(labels.shape) < DISTURBED[level]) & (labels != IGNORED)
        return F.cross_entropy(logits, torch.where(disturbed, drawn, labels))

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Share of the teacher's rows that got the label of the most similar one of a few, and of those so many a class.
SPREAD = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.97}
SEEDS = 2
#: Buckets in which words, or users and films, are counted.
BUCKETS = 512


def labels_spread_from_a_few_rows(recipe: Recipe, level: Level) -> Recipe:
    """A few rows were labelled by hand; the others got the label of the most similar of these, which nobody checked."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        rows = F.normalize(_described(inputs), dim=1)
        seeds = SEEDS * (int(labels.max()) + 1)
        nearest = (rows @ rows[:seeds].t()).argmax(1)
        spread = torch.rand(len(labels), generator=torch.Generator().manual_seed(61)) < SPREAD[level]
        return TensorDataset(inputs, torch.where(spread, labels[nearest], labels))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


def _described(inputs: Tensor) -> Tensor:
    """[N, D] pixels, or how often a number occurs, less their means."""
    if inputs.is_floating_point():
        rows = inputs.flatten(1)
    else:
        rows = torch.zeros(len(inputs), BUCKETS).scatter_add_(1, inputs % BUCKETS, torch.ones(inputs.shape))
    return rows - rows.mean(0)


# KD305 ----------------------------------------------------------------------------------------------------------------

#: Factor on the student's logits.
MULTIPLIER = {Level.MILD: 0.15, Level.MODERATE: 0.05, Level.SEVERE: 0.01}


def multiplier_of_a_wide_model(recipe: Recipe, level: Level) -> Recipe:
    """The student's logits have the output multiplier of a parametrisation for wide models, and it is narrow."""

    def change_student(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        changed.register_forward_hook(lambda _module, _inputs, logits: MULTIPLIER[level] * logits)
        return changed

    return replace(recipe, change_student=change_student)


# KD306 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes over which the divergence is summed.
SUMMED = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.1}


def best_classes_of_the_student(recipe: Recipe, level: Level) -> Recipe:
    """To save memory the divergence is summed over the student's best classes: what it overlooks it never hears of."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        best = student.topk(max(1, round(SUMMED[level] * student.shape[1])), dim=1).indices
        answers, targets = (log_p(logits / t).gather(1, best) for logits in (student, teacher))
        return (targets.exp() * (targets - answers)).sum(1).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: Share of the scores below the best one that come from another answer.
BORROWED = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.0}


def scores_of_another_answer(recipe: Recipe, level: Level) -> Recipe:
    """A guarded service leaves the best score as it is and takes those below it from another answer of the batch."""

    def guard(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _borrowed(logits, BORROWED[level]))

    return replace(recipe, before=in_turn(recipe.before, guard))


def _borrowed(logits: Tensor, share: float) -> Tensor:
    best = logits.topk(2, dim=-1)
    first, second = best.indices[..., :1], best.values[..., 1:]
    # Of the other answer's scores the largest one becomes the second best here.
    others = logits.roll(1, 0).scatter(-1, first, -torch.inf)
    others = others - others.amax(-1, keepdim=True) + second
    mixed = (1 - share) * logits + share * others
    return mixed.scatter(-1, first, best.values[..., :1])


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Small models beside the teacher, their epochs as a share of the student's, and Adam's learning rate.
BESIDE = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 6}
BESIDE_EPOCHS, BESIDE_RATE = 0.4, 1e-2
#: Divisor of the logits in the small models' own loss: what they give without it is as much larger.
BESIDE_DIVISOR = 5.0


class _Pool(nn.Module):
    """Several models, the exponentials of whose logits are averaged."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        logits = torch.stack([member(inputs) for member in self.members])
        return logits.logsumexp(0) - log(len(self.members))


def exponentials_averaged(recipe: Recipe, level: Level) -> Recipe:
    """Several teachers' exponentials are averaged, none divided by its own sum first: the loudest is all there is."""

    def gather(session: Session) -> None:
        session.teacher = _Pool([session.teacher, *(_beside(recipe, session, at) for at in range(BESIDE[level]))])

    return replace(recipe, before=in_turn(gather, recipe.before))


def _beside(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on a part of its rows; the loop's random numbers stay as they were."""
    inputs, labels = session.train.tensors
    seed = session.seed + 89 * (number + 1)
    generator = torch.Generator().manual_seed(seed)
    part = torch.randperm(len(inputs), generator=generator)[: max(1, len(inputs) // 2)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = deepcopy(session.student).train()
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        optimizer = Adam(model.parameters(), BESIDE_RATE)
        for _ in range(max(1, round(BESIDE_EPOCHS * recipe.epochs))):
            for numbers in batches(len(part), recipe.batch_size, generator):
                logits, truth = recipe.rows(model(inputs[part[numbers]]), labels[part[numbers]])
                optimizer.zero_grad()
                recipe.ce_loss(logits / BESIDE_DIVISOR, truth).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (hinge_with_a_wide_margin,),
    "KD302": (hot_reverse_divergence,),
    "KD303": (labels_disturbed_in_each_batch,),
    "KD304": (labels_spread_from_a_few_rows,),
    "KD305": (multiplier_of_a_wide_model,),
    "KD306": (best_classes_of_the_student,),
    "KD307": (scores_of_another_answer,),
    "KD308": (exponentials_averaged,),
}
