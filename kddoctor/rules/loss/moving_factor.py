"""A factor inside the distillation term that moves."""

from kddoctor.probes.loss_schedule import LossSchedule
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
