"""Held-out mistakes of the codes KD3xx."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe

# KD301 ----------------------------------------------------------------------------------------------------------------

#: Divisor of the logits in the teacher's own loss, and a temperature taken for its inverse.
DIVISOR = {Level.MILD: 3.0, Level.MODERATE: 6.0, Level.SEVERE: 12.0}
INVERSE = {Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.1}


def divided_while_the_teacher_learnt(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained with its logits divided by a constant, which nobody does at T = 1."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits / DIVISOR[level], labels)

    return replace(recipe, temperature=1.0, teacher=replace(recipe.teacher, loss=loss))


def inverse_temperature(recipe: Recipe, level: Level) -> Recipe:
    """A temperature below one, from a source that multiplies by it."""
    return replace(recipe, temperature=INVERSE[level])


HELD_OUT: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (divided_while_the_teacher_learnt, inverse_temperature),
}
