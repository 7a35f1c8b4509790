"""Schedules that several mistakes are made with."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Factor on the epochs where the training is to be long enough.
LONGER = 2


def for_long(recipe: Recipe) -> Recipe:
    """Long enough, with a rate that decays, so that what is left is no lack of steps."""
    return replace(recipe, epochs=recipe.epochs * LONGER, schedule="cosine")


def with_factor_on_the_rate(recipe: Recipe, factor: Callable[[Session, Batch], float]) -> Recipe:
    """The recipe whose rate is the schedule's times a factor, which is asked for at each step."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        group: dict[str, Any] = {"params": list(recipe.parameters(session))}
        session.notes["group"] = group
        groups: list[Any] = [group]
        return groups

    def answers(session: Session, batch: Batch) -> Tensor:
        # The schedule sets the rate anew after each step.
        session.notes["group"]["lr"] *= factor(session, batch)
        return recipe.answers(session, batch)

    return replace(recipe, parameters=parameters, answers=answers)
