"""KD506: part of the student never learns, although it is meant to."""

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Share of the student's tensors that are left out; at least one learns.
SHARE = {Level.MILD: 0.3, Level.MODERATE: 0.55, Level.SEVERE: 0.8}


def backbone_still_frozen(recipe: Recipe, level: Level) -> Recipe:
    """The first layers were frozen for a warm-up of the head, and nobody thawed them."""

    def freeze(session: Session) -> None:
        parameters = list(session.student.parameters())
        for parameter in parameters[: _count(parameters, level)]:
            parameter.requires_grad_(False)

    return replace(recipe, before=in_turn(recipe.before, freeze))


def group_forgotten(recipe: Recipe, level: Level) -> Recipe:
    """The optimizer's groups are listed by hand, and the last layers are in none of them."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        listed = list(recipe.parameters(session))
        return listed[: len(listed) - _count(listed, level)]

    return replace(recipe, parameters=parameters)


def _count(parameters: list[nn.Parameter], level: Level) -> int:
    return min(max(1, round(SHARE[level] * len(parameters))), len(parameters) - 1)


FAULT = Fault("KD506", seen=(backbone_still_frozen,), unseen=(group_forgotten,))
