"""KD102: the teacher is loaded rightly and is worse than the student could be by itself."""

from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Rows that the teacher was fine-tuned on, and how many times as often it saw them.
EXAMPLES = {Level.MILD: 100, Level.MODERATE: 60, Level.SEVERE: 30}
OFTENER = 10
#: Factor on the teacher's learning rate, and divisor of its epochs.
SLOWER = {Level.MILD: 0.18, Level.MODERATE: 0.12, Level.SEVERE: 0.08}
SHORTER = 8


def few_examples(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuned on a handful of examples, until it knew them by heart."""
    teacher, rows = recipe.teacher, EXAMPLES[level]
    return replace(recipe, teacher=replace(teacher, examples=rows, epochs=OFTENER * teacher.epochs))


def hardly_tuned(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuned for an epoch or two, at the low rate of a much larger model."""
    teacher = recipe.teacher
    epochs, rate = max(2, teacher.epochs // SHORTER), teacher.learning_rate * SLOWER[level]
    return replace(recipe, teacher=replace(teacher, epochs=epochs, learning_rate=rate))


FAULT = Fault("KD102", seen=(few_examples,), unseen=(hardly_tuned,))
