"""KD212: the logged loss is right, and its gradient is a multiple that depends on how the work was split.

Both imitate, in one process, what several micro-batches or devices do to the gradient.
"""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Micro-batches of a step whose gradients are added up.
ADDED = {Level.MILD: 4, Level.MODERATE: 5, Level.SEVERE: 8}
#: Micro-batches, or devices that share a model, by whose number a gradient is divided once too often.
DIVIDED = {Level.MILD: 6, Level.MODERATE: 16, Level.SEVERE: 48}


def divided_twice(recipe: Recipe, level: Level) -> Recipe:
    """The loop divides by the accumulation steps, and so does the trainer: gradients are that much too small."""
    return _with_gradients_times(recipe, 1 / DIVIDED[level])


def summed_over_micro_batches(recipe: Recipe, level: Level) -> Recipe:
    """The means of the micro-batches are summed and never divided by their number."""
    return _with_gradients_times(recipe, float(ADDED[level]))


def _with_gradients_times(recipe: Recipe, factor: float) -> Recipe:
    def accumulate(session: Session) -> None:
        for parameter in session.student.parameters():
            parameter.register_hook(_times(factor))  # type: ignore[no-untyped-call]

    return replace(recipe, before=in_turn(recipe.before, accumulate))


def _times(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * factor


def averaged_over_devices_that_hold_nothing(recipe: Recipe, level: Level) -> Recipe:
    """The distillation term is computed on one device of several, and its gradient averaged over all of them."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        value = recipe.kd_loss(student, teacher, t)
        share = 1 / DIVIDED[level]
        # The value of the term, with a share of its gradient.
        return share * value + (1 - share) * value.detach()

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault(
    "KD212",
    seen=(summed_over_micro_batches,),
    unseen=(divided_twice, averaged_over_devices_that_hold_nothing),
)
