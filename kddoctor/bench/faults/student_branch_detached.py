"""KD111: the distillation term is computed and logged, and no gradient of it reaches the student."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe


def detached(recipe: Recipe, _level: Level) -> Recipe:
    """detach() on the student's side; it was meant for the teacher's."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(student.detach(), teacher, t)

    return replace(recipe, kd_loss=kd_loss)


def added_as_a_number(recipe: Recipe, _level: Level) -> Recipe:
    """The total adds the number that is logged, not the tensor."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return (1 - alpha) * ce + alpha * kd.item()

    return replace(recipe, mix=mix)


def computed_in_numpy(recipe: Recipe, _level: Level) -> Recipe:
    """The divergence is computed in NumPy, for its precision, and wrapped into a new tensor."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = (_probabilities(logits.detach().double().numpy() / t) for logits in (student, teacher))
        each = (targets * np.log(targets / answers)).sum(axis=1)
        return torch.tensor(t**2 * each.mean(), dtype=student.dtype, requires_grad=True)

    return replace(recipe, kd_loss=kd_loss)


def _probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


FAULT = Fault("KD111", seen=(detached,), unseen=(added_as_a_number, computed_in_numpy), knob=False)
