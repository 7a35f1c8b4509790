"""KD102: the teacher is loaded rightly and is worse than the student could be by itself."""

from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Rows that the teacher was fine-tuned on, or the factor on its learning rate, by level.
EXAMPLES = {Level.MILD: 300, Level.MODERATE: 120, Level.SEVERE: 40}
RATE = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.15}


def few_examples(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuned on a handful of examples."""
    return replace(recipe, teacher=replace(recipe.teacher, examples=EXAMPLES[level]))


def hardly_tuned(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuned for one epoch, at the low rate of a much larger model."""
    rate = recipe.teacher.learning_rate * RATE[level]
    return replace(recipe, teacher=replace(recipe.teacher, epochs=1, learning_rate=rate))


FAULT = Fault("KD102", seen=(few_examples,), unseen=(hardly_tuned,))
