"""A short learning-rate probe: which rate a loop can bear that diverged, or whose rate does not fit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from kddoctor.treatment.schedule import Schedule

#: Training steps at each rate, and how many of the last losses are looked at.
STEPS, LAST = 60, 10


def fitting_rate(schedule: Schedule, shares: Sequence[float], losses: Callable[[Schedule, int], list[float]]) -> float:
    """The rate after whose ``STEPS`` steps the loss is lowest; the lowest rate where none stays finite.

    shares: rates that are tried, in multiples of the schedule's own (Smith 2017, arXiv:1506.01186, tries a range as
    well). losses: trains a fresh student at a schedule for so many steps and returns the loss of each.
    """
    ends = {}
    for share in shares:
        rate = schedule.learning_rate * share
        found = np.array(losses(replace(schedule, learning_rate=rate), STEPS)[-LAST:])
        ends[rate] = float(np.median(found)) if np.isfinite(found).all() else math.inf
    return min(ends, key=lambda rate: (ends[rate], rate))
