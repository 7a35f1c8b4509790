"""KD502: the training was too short."""

from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Divisors of the number of epochs, at a constant rate and with a cosine.
SHORTER = {Level.MILD: 4, Level.MODERATE: 6, Level.SEVERE: 12}
ANNEALED = {Level.MILD: 3, Level.MODERATE: 4, Level.SEVERE: 8}
#: Divisors of epochs and of the learning rate, where both are those of fine-tuning.
FEWER = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 4}
SLOWER = {Level.MILD: 4.0, Level.MODERATE: 5.0, Level.SEVERE: 8.0}


def too_few_epochs(recipe: Recipe, level: Level) -> Recipe:
    """The schedule of a pilot run was kept."""
    return replace(recipe, epochs=_part(recipe, SHORTER[level]), schedule="constant")


def schedule_of_fine_tuning(recipe: Recipe, level: Level) -> Recipe:
    """The few epochs and the low rate with which a pretrained model is fine-tuned, on a student that starts anew."""
    rate = recipe.learning_rate / SLOWER[level]
    return replace(recipe, epochs=_part(recipe, FEWER[level]), learning_rate=rate, schedule="constant")


def annealed_as_without_a_teacher(recipe: Recipe, level: Level) -> Recipe:
    """As many epochs as the labels alone need, and a cosine that ends there."""
    return replace(recipe, epochs=_part(recipe, ANNEALED[level]), schedule="cosine")


def _part(recipe: Recipe, divisor: int) -> int:
    return max(2, recipe.epochs // divisor)


FAULT = Fault("KD502", seen=(too_few_epochs,), unseen=(schedule_of_fine_tuning, annealed_as_without_a_teacher))
