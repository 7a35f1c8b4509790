"""KD702: the student is evaluated through another pipeline than it was trained with."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Offset that a pipeline subtracts from images, and share of the vocabulary that it does not know.
OFFSET = {Level.MILD: 0.35, Level.MODERATE: 0.5, Level.SEVERE: 0.8}
UNKNOWN = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.8}
#: Size to which images are reduced on their way, and share of a text that is left.
REDUCED = {Level.MILD: 0.9, Level.MODERATE: 0.8, Level.SEVERE: 0.5}
READ = {Level.MILD: 0.75, Level.MODERATE: 0.5, Level.SEVERE: 0.25}


def another_normalisation(recipe: Recipe, level: Level) -> Recipe:
    """The exported student normalises images once more, or numbers its words by a smaller vocabulary."""

    def prepared(inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            return (inputs - OFFSET[level]) / (1 - OFFSET[level] / 2)
        known = (1 - UNKNOWN[level]) * inputs.max()
        return torch.where(inputs <= known, inputs, 1)

    return _exported(recipe, prepared)


def smaller_inputs(recipe: Recipe, level: Level) -> Recipe:
    """The service passes thumbnails, enlarged again, or texts cut to a shorter length."""

    def prepared(inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            small = F.interpolate(inputs, scale_factor=REDUCED[level], mode="bilinear", align_corners=False)
            return F.interpolate(small, inputs.shape[-2:], mode="bilinear", align_corners=False)
        read = inputs.clone()
        read[:, max(1, round(READ[level] * inputs.shape[1])) :] = 0
        return read

    return _exported(recipe, prepared)


def _exported(recipe: Recipe, prepared: Callable[[Tensor], Tensor]) -> Recipe:
    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return prepared(inputs[0])

    def export(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, export))


FAULT = Fault(
    "KD702",
    seen=(another_normalisation,),
    unseen=(smaller_inputs,),
    kinds=("multiclass", "tokens"),
)
