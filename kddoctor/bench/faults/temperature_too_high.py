"""KD302: a temperature so high that every soft target is nearly uniform."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe

#: How many times the task's own temperature.
TIMES = {Level.MILD: 10.0, Level.MODERATE: 40.0, Level.SEVERE: 200.0}
#: The same, where no T² makes up for it.
TIMES_UNSCALED = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 15.0}


def copied_from_a_sweep(recipe: Recipe, level: Level) -> Recipe:
    """The largest temperature of somebody's sweep, with T²: differences of logits are all that is left."""
    return replace(recipe, temperature=TIMES[level] * recipe.temperature)


def high_without_t_squared(recipe: Recipe, level: Level) -> Recipe:
    """A high temperature in a recipe that has no T², and says so: the term all but vanishes."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean")

    return replace(
        recipe,
        temperature=TIMES_UNSCALED[level] * recipe.temperature,
        temperature_squared=False,
        kd_loss=kd_loss,
    )


FAULT = Fault("KD302", seen=(high_without_t_squared,), unseen=(copied_from_a_sweep,))
