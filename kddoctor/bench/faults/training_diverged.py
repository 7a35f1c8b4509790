"""KD505: the training blew up."""

from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Factor on the learning rate.
FASTER = {Level.MILD: 400.0, Level.MODERATE: 2000.0, Level.SEVERE: 20000.0}
WORKERS = {Level.MILD: 32, Level.MODERATE: 128, Level.SEVERE: 1024}


def rate_of_another_optimiser(recipe: Recipe, level: Level) -> Recipe:
    """A learning rate that belongs to another optimiser, and no clipping."""
    return replace(recipe, learning_rate=recipe.learning_rate * FASTER[level], optimizer="sgd", clip=None)


def scaled_with_the_workers(recipe: Recipe, level: Level) -> Recipe:
    """Plain SGD, its rate multiplied by the size of the batch and by the number of workers."""
    rate = recipe.learning_rate * recipe.batch_size * WORKERS[level]
    return replace(recipe, learning_rate=rate, optimizer="sgd", momentum=0.0, schedule="constant", clip=None)


FAULT = Fault("KD505", seen=(rate_of_another_optimiser,), unseen=(scaled_with_the_workers,))
