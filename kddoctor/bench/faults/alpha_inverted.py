"""KD207: the weights of the two terms are exchanged."""

from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe


def weights_exchanged(recipe: Recipe, _level: Level) -> Recipe:
    """alpha on the labels' term."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * ce + (1 - alpha) * kd

    return replace(recipe, mix=mix)


def other_convention(recipe: Recipe, _level: Level) -> Recipe:
    """A library's blend, whose weight belongs to its first argument, and that gets the labels' term first."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return torch.lerp(kd, ce, alpha)

    return replace(recipe, mix=mix)


FAULT = Fault("KD207", seen=(weights_exchanged,), unseen=(other_convention,), knob=False)
