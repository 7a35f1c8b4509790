"""KD501: the learning rate or the batch belongs to another set-up."""

from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Devices that the rate was scaled for. Adam forgives more, as its steps do not grow with the loss.
DEVICES = {Level.MILD: 4, Level.MODERATE: 5, Level.SEVERE: 8}
FORGIVEN = 3
#: Divisor and factor of the batch size.
SMALLER = {Level.MILD: 4, Level.MODERATE: 5, Level.SEVERE: 8}
LARGER = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 16}


def scaled_for_many_devices(recipe: Recipe, level: Level) -> Recipe:
    """The rate of a large machine, linearly scaled for it, on a single device."""
    factor = DEVICES[level] * (1 if recipe.optimizer == "sgd" else FORGIVEN)
    return replace(recipe, learning_rate=recipe.learning_rate * factor)


def batch_of_a_small_card(recipe: Recipe, level: Level) -> Recipe:
    """The batch was cut until it fitted the memory, the rate was left; and nothing decays."""
    smaller = max(2, recipe.batch_size // SMALLER[level])
    return replace(recipe, batch_size=smaller, schedule="constant")


def batch_of_a_large_card(recipe: Recipe, level: Level) -> Recipe:
    """The batch was grown for throughput, with the rate and the epochs of the small one."""
    return replace(recipe, batch_size=recipe.batch_size * LARGER[level])


FAULT = Fault(
    "KD501",
    seen=(scaled_for_many_devices,),
    unseen=(batch_of_a_small_card, batch_of_a_large_card),
)
