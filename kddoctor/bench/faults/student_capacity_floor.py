"""KD402: the student is too small even for the labels."""

from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Width of the student, as a share of the one that works.
WIDTH = {Level.MILD: 0.25, Level.MODERATE: 0.15, Level.SEVERE: 0.1}
#: Its training is long enough to be level.
LONGER = 2


def far_too_narrow(recipe: Recipe, level: Level) -> Recipe:
    """Sized for another task."""
    return replace(recipe, width=recipe.width * WIDTH[level], epochs=recipe.epochs * LONGER)


def narrow_and_annealed(recipe: Recipe, level: Level) -> Recipe:
    """The smallest size that a latency budget allows, trained with a cosine schedule."""
    narrow = WIDTH[level] * 0.8
    return replace(recipe, width=recipe.width * narrow, epochs=recipe.epochs * LONGER, schedule="cosine")


FAULT = Fault("KD402", seen=(far_too_narrow,), unseen=(narrow_and_annealed,), kinds=("multiclass", "tokens"))
