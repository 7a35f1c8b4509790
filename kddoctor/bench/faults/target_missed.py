"""KD704: the distillation is sound, and the user wanted more than it can give."""

from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Share of the teacher's metric that was promised, and width of the student as a share of the usual one.
PROMISED = {Level.MILD: 1.0, Level.MODERATE: 1.02, Level.SEVERE: 1.1}
NARROWER = {Level.MILD: 0.75, Level.MODERATE: 0.5, Level.SEVERE: 0.35}


def promised_too_much(recipe: Recipe, level: Level) -> Recipe:
    """The release needs a student as good as the teacher, or better."""
    return replace(recipe, wanted={"retention": PROMISED[level]})


def smaller_than_the_target_allows(recipe: Recipe, level: Level) -> Recipe:
    """A narrower student, trained well and for longer, for a target that the wider one just met."""
    return replace(
        recipe,
        width=recipe.width * NARROWER[level],
        epochs=recipe.epochs + recipe.epochs // 2,
        wanted={"retention": 0.99},
    )


FAULT = Fault("KD704", seen=(promised_too_much,), unseen=(smaller_than_the_target_allows,))
