"""Held-out mistakes of the codes KD4xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe

# KD402 ----------------------------------------------------------------------------------------------------------------

#: Share of the weights that pruning left, and how many times as long the training is.
LEFT = {Level.MILD: 0.2, Level.MODERATE: 0.15, Level.SEVERE: 0.1}
LONGER = 2


def pruned_before_training(recipe: Recipe, level: Level) -> Recipe:
    """The usual width, but all but a few weights are pruned before the training and stay zero; trained for long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for weight in student.parameters():
            if weight.ndim > 1:
                _prune(weight, LEFT[level])
        return student

    return replace(recipe, change_student=change_student, epochs=recipe.epochs * LONGER, schedule="cosine")


def _prune(weight: nn.Parameter, share: float) -> None:
    kept = (torch.rand(weight.shape) < share).to(weight.dtype)
    with torch.no_grad():
        weight.mul_(kept / share**0.5)
    weight.register_hook(_masked(kept))  # type: ignore[no-untyped-call]


def _masked(kept: Tensor) -> Callable[[Tensor], Tensor]:
    def mask(gradient: Tensor) -> Tensor:
        return gradient * kept

    return mask


HELD_OUT: Mapping[str, tuple[Edit, ...]] = {
    "KD402": (pruned_before_training,),
}
