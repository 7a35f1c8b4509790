"""A factor inside the distillation term, or a weight of either term, that moves."""

import numpy as np

from kddoctor.probes.loss_schedule import Array, LossSchedule
from kddoctor.run.manifest import Manifest

#: Relative distance within which two factors are one.
SAME = 0.005


def loses_t_squared(schedule: LossSchedule, config: Manifest) -> bool:
    """Whether a factor inside the term goes from T² to 1, or back: that of a temperature that moves alone."""
    t = config.distillation.temperature
    inside = schedule.what == "factor inside the term"
    if not inside or not t or t == 1.0 or not config.distillation.temperature_squared:
        return False
    ends = sorted((schedule.first, schedule.last))
    return abs(ends[0] * t**2 - 1) < SAME and abs(ends[1] - 1) < SAME


def strength_on_average(schedule: LossSchedule, config: Manifest) -> float:
    """Mean weight of the distillation term over that of the labels, over the declared one.

    Of a mixture the ratio of the mean weights or the mean of the ratios, whichever is nearer to what was declared.
    Where one term stands alone at first, a single step decides the latter; of a ramp up to what was declared the former
    says that the labels had most of the run.
    """
    if schedule.what == "weight of the labels":
        with np.errstate(divide="ignore"):
            return float(1 / np.mean(1 / schedule.strength))
    declared = _declared_odds(schedule, config)
    if declared is None or schedule.mean <= 0:
        return schedule.mean
    teacher, labels = _mixture(schedule.strength * declared)
    of_means = float(teacher.mean() / labels.mean() / declared)
    return min(of_means, schedule.mean, key=lambda strength: abs(np.log(strength)))


def growth_of_weight(schedule: LossSchedule | None, config: Manifest) -> float:
    """How many times its first weight a term has at its heaviest; 1 where none moves, or their sizes are not known.

    A total that rises with it tells nothing of the steps.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = () if schedule is None else _moving(schedule, config)
        return max((1.0, *(float(np.nan_to_num(weight.max() / weight[0], nan=1.0)) for weight in weights)))


def _moving(schedule: LossSchedule, config: Manifest) -> tuple[Array, ...]:
    """[steps] weights of the terms that move, up to a factor."""
    if schedule.what == "weight":
        return (schedule.strength,)
    if schedule.what == "weight of the labels":
        return (1 / schedule.strength,)
    declared = _declared_odds(schedule, config)
    return () if declared is None else _mixture(schedule.strength * declared)


def _declared_odds(schedule: LossSchedule, config: Manifest) -> float | None:
    """Weight of the distillation term over that of the labels in a mixture of the two; None of another schedule."""
    alpha = config.distillation.alpha
    return alpha / (1 - alpha) if schedule.what == "mixing weight" and alpha is not None and 0 < alpha < 1 else None


def _mixture(odds: Array) -> tuple[Array, Array]:
    """[steps] weights of the distillation term and of the labels, which add up to 1."""
    return odds / (1 + odds), 1 / (1 + odds)
