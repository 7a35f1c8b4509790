"""Mistakes in what the teacher's outputs say: how soft they are, how right, and how much of them arrives."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session

# KD301 ----

_MARGINS = {Level.MILD: 15.0, Level.MODERATE: 30.0, Level.SEVERE: 150.0}


def teacher_of_the_largest_margin(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher as a support vector machine of a wide margin, so that its scores are no log-chances."""
    margin = _MARGINS[level]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.multi_margin_loss(logits, labels, margin=margin)

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD302 ----

_WARMER = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 25.0}


def warmed_until_the_bars_looked_even(recipe: Recipe, level: Level) -> Recipe:
    """Raised the temperature until a plot of the targets showed every class, with a term that has no factor for it."""
    warmer = recipe.temperature * _WARMER[level]
    return replace(recipe, temperature=warmer, temperature_squared=False, kd_loss=_without_factor)


def _without_factor(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.kl_div(log_p(student / temperature), p(teacher / temperature), reduction="batchmean")


# KD303 ----

_SMOOTHED = {Level.MILD: 0.2, Level.MODERATE: 0.35, Level.SEVERE: 0.5}


def teacher_smoothed_by_loader_and_loss(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher whose labels the loader had smoothed and the loss smoothed once more."""
    share = _SMOOTHED[level]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        loaded = F.one_hot(labels, logits.shape[-1]) * (1 - share) + share / logits.shape[-1]
        return F.cross_entropy(logits, loaded, label_smoothing=share)

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----

_MISTAKEN = {Level.MILD: 0.08, Level.MODERATE: 0.22, Level.SEVERE: 0.32}


def annotators_slipped_to_the_next_box(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher on labels of annotators who often ticked the box below the one they meant."""
    share = _MISTAKEN[level]

    def data(given: TensorDataset) -> TensorDataset:
        inputs, labels = given.tensors
        slipped = torch.rand(labels.shape, generator=torch.Generator().manual_seed(271)) < share
        below = (labels + 1) % (labels.max() + 1)
        return TensorDataset(inputs, torch.where(slipped & (labels != IGNORED), below, labels))

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD305 ----

_CAPS = {Level.MILD: 3.0, Level.MODERATE: 1.0, Level.SEVERE: 0.4}


def student_with_capped_logits(recipe: Recipe, level: Level) -> Recipe:
    """Gave the student the soft cap of another model family, far below what the teacher's logits reach."""
    cap = _CAPS[level]

    def change(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        changed.register_forward_hook(lambda _module, _inputs, logits: cap * torch.tanh(logits / cap))
        return changed

    return replace(recipe, change_student=change)


# KD306 ----

_STORED = {Level.MILD: 5, Level.MODERATE: 3, Level.SEVERE: 2}


def both_renormalised_over_the_stored(recipe: Recipe, level: Level) -> Recipe:
    """Stored the teacher's few likeliest classes, and made the student's chances of these sum to one as well."""
    count = _STORED[level]

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        stored, columns = teacher.topk(min(count, teacher.shape[-1]), dim=-1)
        same = student.gather(-1, columns)
        divergence = F.kl_div(log_p(same / temperature), p(stored / temperature), reduction="batchmean")
        return divergence * temperature**2

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----

_SECOND_PEAK = {Level.MILD: 0.05, Level.MODERATE: 0.15, Level.SEVERE: 0.3}


def teacher_protected_against_copying(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher whose owner had trained it to name, second to its answer, one that has nothing to do with it."""
    share = _SECOND_PEAK[level]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        chances = log_p(logits)
        decoys = _decoys(logits.shape[-1])[labels]
        return (1 - share) * F.nll_loss(chances, labels) + share * F.nll_loss(chances, decoys)

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


def _decoys(classes: int) -> Tensor:
    """Another class for each, drawn once."""
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(31))
    decoys = torch.empty_like(order)
    decoys[order] = order.roll(1)
    return decoys


# KD308 ----

_LOUDER = {Level.MILD: 1.5, Level.MODERATE: 6.0, Level.SEVERE: 25.0}


class _Ensemble(nn.Module):
    """Members whose scores are averaged as they come; the last one's come on a scale of their own."""

    def __init__(self, members: list[nn.Module], scale: float) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs to the mean of the members' scores."""
        scores = [member(inputs) for member in self.members]
        scores[-1] = scores[-1] * self.scale
        return torch.stack(scores).mean(0)


def averaged_scores_of_unlike_scales(recipe: Recipe, level: Level) -> Recipe:
    """Averaged the scores of an ensemble one member of which, the weakest, gives them on a far larger scale."""
    scale = _LOUDER[level]

    def gather(session: Session) -> None:
        others = [_other_run(session.teacher, spread, seed) for seed, spread in enumerate(_SPREADS)]
        members = [session.teacher, *others]
        session.teacher = _Ensemble(members, scale).eval().requires_grad_(False)

    return replace(recipe, before=in_turn(recipe.before, gather))


#: How far the weights of the other members are from the first one's, in standard deviations of each tensor.
_SPREADS = (0.1, 0.1, 0.45)


@torch.no_grad()
def _other_run(model: nn.Module, spread: float, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed + 577)
    other: nn.Module = deepcopy(model)
    for parameter in other.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(spread * parameter.std(correction=0) * noise)
    return other


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (teacher_of_the_largest_margin,),
    "KD302": (warmed_until_the_bars_looked_even,),
    "KD303": (teacher_smoothed_by_loader_and_loss,),
    "KD304": (annotators_slipped_to_the_next_box,),
    "KD305": (student_with_capped_logits,),
    "KD306": (both_renormalised_over_the_stored,),
    "KD307": (teacher_protected_against_copying,),
    "KD308": (averaged_scores_of_unlike_scales,),
}
