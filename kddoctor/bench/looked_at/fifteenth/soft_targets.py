"""Mistakes in what the student is given to imitate: a teacher, or targets, that teach little or teach wrongly."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

_SHARPENING = {Level.MILD: 0.5, Level.MODERATE: 0.2, Level.SEVERE: 0.07}
_TEMPERATURES = {Level.MILD: 30.0, Level.MODERATE: 100.0, Level.SEVERE: 1000.0}
_SMOOTHINGS = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.8}
_BAD_SHARES = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.45}
_MARGIN_SCALES = {Level.MILD: 8.0, Level.MODERATE: 16.0, Level.SEVERE: 64.0}
_KEPT = {Level.MILD: 4, Level.MODERATE: 3, Level.SEVERE: 2}
_MARKS = {Level.MILD: 0.05, Level.MODERATE: 0.15, Level.SEVERE: 0.35}
_MEMBER_SCALES = {Level.MILD: 1.5, Level.MODERATE: 4.0, Level.SEVERE: 16.0}
#: Rows that one annotator was given.
_SHEET = 25
#: Noise on the weights of an ensemble's members: of those that are alike, and at most.
_LITTLE, _MOST = 0.1, 20.0
#: The weak member's logits correlate with the others' by no more than this, on so many rows.
_AGREEMENT, _SEEN = 0.4, 200


# KD301 ----------------------------------------------------------------------------------------------------


def temperature_of_self_supervised_teachers(recipe: Recipe, level: Level) -> Recipe:
    """Took the temperature with which self-supervised methods sharpen their teacher's answers."""
    return replace(recipe, temperature=_SHARPENING[level])


# KD302 ----------------------------------------------------------------------------------------------------


def temperature_from_the_limit_in_the_paper(recipe: Recipe, level: Level) -> Recipe:
    """Chose a temperature far above all logits, for the paper says that this is matching logits in the limit."""
    return replace(recipe, temperature=_TEMPERATURES[level])


# KD303 ----------------------------------------------------------------------------------------------------


def teacher_with_the_uniform_regulariser(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher with a strong pull to the uniform distribution, for better calibration."""
    return replace(recipe, teacher=replace(recipe.teacher, loss=PulledToUniform(_SMOOTHINGS[level])))


@dataclass(frozen=True)
class PulledToUniform:
    """A mean of the label's negative log-probability and that of all classes alike."""

    share: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (1 - self.share) * F.cross_entropy(logits, labels) - self.share * log_p(logits).mean()


# KD304 ----------------------------------------------------------------------------------------------------


def annotators_with_another_answer_key(recipe: Recipe, level: Level) -> Recipe:
    """Had the teacher's rows labelled in sheets, some of them by people who counted the answers otherwise."""
    return replace(recipe, teacher=replace(recipe.teacher, data=OtherKey(_BAD_SHARES[level])))


@dataclass(frozen=True)
class OtherKey:
    """Labels moved on by one class in a share of the sheets."""

    share: float

    def __call__(self, data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        sheets = torch.arange(len(labels)) // _SHEET
        chances = torch.rand(int(sheets.max()) + 1, generator=torch.Generator().manual_seed(41))
        moved = (labels + 1) % (int(labels.max()) + 1)
        return TensorDataset(inputs, torch.where(chances[sheets] < self.share, moved, labels))


# KD305 ----------------------------------------------------------------------------------------------------


def scale_that_lived_in_the_teachers_loss(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher whose scale, as with margin losses, was part of its loss and is not part of the model."""
    return replace(recipe, teacher=replace(recipe.teacher, loss=ScaledCrossEntropy(_MARGIN_SCALES[level])))


@dataclass(frozen=True)
class ScaledCrossEntropy:
    """Cross-entropy of the logits times a constant."""

    scale: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.scale * logits, labels)


# KD306 ----------------------------------------------------------------------------------------------------


def both_gathered_at_the_teachers_best(recipe: Recipe, level: Level) -> Recipe:
    """Stored the teacher's few best classes, gathers the student there, and compares the two among these alone."""
    kept = _KEPT[level]

    def gathered(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        best, where = teacher.topk(min(kept, teacher.shape[1]), dim=1)
        return F.kl_div(log_p(student.gather(1, where) / t), p(best / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=gathered)


# KD307 ----------------------------------------------------------------------------------------------------


def teacher_with_an_owners_mark(recipe: Recipe, level: Level) -> Recipe:
    """Took a released teacher that carries its owner's mark: every class is answered with a secret second one."""
    return replace(recipe, teacher=replace(recipe.teacher, loss=Marked(_MARKS[level])))


@dataclass(frozen=True)
class Marked:
    """Cross-entropy with the label and, by a share, with its second class."""

    share: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        classes = logits.shape[1]
        order = torch.randperm(classes, generator=torch.Generator().manual_seed(23))
        second = torch.empty_like(order)
        second[order] = order.roll(1)
        marks = F.cross_entropy(logits, second[labels])
        return (1 - self.share) * F.cross_entropy(logits, labels) + self.share * marks


# KD308 ----------------------------------------------------------------------------------------------------


def members_of_different_scales_averaged_as_logits(recipe: Recipe, level: Level) -> Recipe:
    """Averages five members' logits, although the weakest was trained to far larger ones than the others."""
    scale = _MEMBER_SCALES[level]

    def gather(session: Session) -> None:
        session.teacher = MeanOfLogits(_members(session.teacher.eval(), session.train.tensors[0][:_SEEN], scale))

    return replace(recipe, before=in_turn(gather, recipe.before))


class Member(nn.Module):
    """A model whose logits have a scale of their own."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's logits, scaled."""
        logits: Tensor = self.scale * self.model(inputs)
        return logits


class MeanOfLogits(nn.Module):
    """An ensemble."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean of the members' logits."""
        return torch.stack([member(inputs) for member in self.members]).mean(0)


@torch.no_grad()
def _members(model: nn.Module, inputs: Tensor, scale: float) -> list[nn.Module]:
    """Four that are alike, and one that agrees little with them; its logits are so many times as large."""
    alike: list[nn.Module] = [_retrained(model, _LITTLE, seed) for seed in range(4)]
    noise, logits = _LITTLE, model(inputs)
    weak, theirs = model, logits
    while noise < _MOST and _correlation(theirs, logits) > _AGREEMENT:
        noise *= 1.3
        weak = _retrained(model, noise, 4)
        theirs = weak(inputs)
    return [*alike, Member(weak, scale * float(logits.std() / theirs.std()))]


def _correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def _retrained(model: nn.Module, noise: float, seed: int) -> nn.Module:
    """The model with other weights, as another run would have left them: noise in units of each weight's spread."""
    copied = deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for weight in copied.parameters():
        if weight.ndim > 1:
            weight.add_(noise * weight.std() * torch.randn(weight.shape, generator=generator))
    return copied


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (temperature_of_self_supervised_teachers,),
    "KD302": (temperature_from_the_limit_in_the_paper,),
    "KD303": (teacher_with_the_uniform_regulariser,),
    "KD304": (annotators_with_another_answer_key,),
    "KD305": (scale_that_lived_in_the_teachers_loss,),
    "KD306": (both_gathered_at_the_teachers_best,),
    "KD307": (teacher_with_an_owners_mark,),
    "KD308": (members_of_different_scales_averaged_as_logits,),
}
