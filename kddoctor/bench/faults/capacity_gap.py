"""KD401: the teacher's function is beyond the student, which fits the labels better without it."""

from dataclasses import replace

from kddoctor.bench import losses
from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import for_long

#: Width of the student as a share of the usual one: still enough for the labels, not for all that the teacher says.
WIDTH = {Level.MILD: 0.4, Level.MODERATE: 0.35, Level.SEVERE: 0.25}
#: Factor on the temperature: all classes count alike, however little they matter.
HOTTER = 3.0


def every_logit_of_a_large_teacher(recipe: Recipe, level: Level) -> Recipe:
    """A small student regresses all the logits of the largest teacher at hand, without labels."""
    return replace(
        for_long(recipe),
        width=recipe.width * WIDTH[level],
        alpha=1.0,
        loss="mse",
        kd_loss=losses.mse,
    )


def whole_distribution_of_a_large_teacher(recipe: Recipe, level: Level) -> Recipe:
    """A small student is to match the distribution down to its tail, at the temperature of a paper on large ones."""
    return replace(
        for_long(recipe),
        width=recipe.width * WIDTH[level],
        alpha=1.0,
        temperature=recipe.temperature * HOTTER,
    )


FAULT = Fault(
    "KD401",
    seen=(every_logit_of_a_large_teacher,),
    unseen=(whole_distribution_of_a_large_teacher,),
    kinds=("multiclass", "tokens"),
)
