"""Held-out mistakes of the codes KD5xx."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe

# KD502 ----------------------------------------------------------------------------------------------------------------

#: Divisors of the number of epochs, where the rate falls in steps and where it restarts.
STEPPED = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 12}
RESTARTED = {Level.MILD: 3, Level.MODERATE: 4, Level.SEVERE: 16}


def steps_of_a_shorter_run(recipe: Recipe, level: Level) -> Recipe:
    """A rate that falls twice by ten, and all of it within the first epochs of what was needed."""
    return replace(recipe, epochs=max(1, recipe.epochs // STEPPED[level]), schedule="step")


def few_epochs_of_three_cycles(recipe: Recipe, level: Level) -> Recipe:
    """Three cycles of a warm-restarting rate, in fewer epochs than one of them needs."""
    return replace(recipe, epochs=max(1, recipe.epochs // RESTARTED[level]), schedule="warm-restarts")


# KD505 ----------------------------------------------------------------------------------------------------------------

#: Loss scale whose gradients are never scaled back, and a momentum above one.
NEVER_UNSCALED = {Level.MILD: 2.0**10, Level.MODERATE: 2.0**13, Level.SEVERE: 2.0**16}
MOMENTUM = {Level.MILD: 1.1, Level.MODERATE: 1.25, Level.SEVERE: 1.5}


def never_scaled_back(recipe: Recipe, level: Level) -> Recipe:
    """Plain SGD on a loss that was scaled for half precision, without unscaling and without clipping."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return recipe.mix(ce, kd, alpha) * NEVER_UNSCALED[level]

    return replace(recipe, mix=mix, optimizer="sgd", clip=None)


def momentum_above_one(recipe: Recipe, level: Level) -> Recipe:
    """A momentum that makes each step longer than the last."""
    return replace(recipe, optimizer="sgd", momentum=MOMENTUM[level], clip=None)


HELD_OUT: Mapping[str, tuple[Edit, ...]] = {
    "KD502": (steps_of_a_shorter_run, few_epochs_of_three_cycles),
    "KD505": (never_scaled_back, momentum_above_one),
}
