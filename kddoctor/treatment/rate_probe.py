"""A short learning-rate probe: which lower rate a run that diverged can bear."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kddoctor.treatment.schedule import Schedule

#: Rates that are tried, as shares of the one that diverged (Smith 2017, arXiv:1506.01186, tries a range as well).
SHARES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
#: Training steps at each rate, and how many of the last losses are looked at.
STEPS, LAST = 60, 10


def lower_rate(schedule: Schedule, losses: Callable[[Schedule, int], list[float]]) -> float:
    """The rate after whose ``STEPS`` steps the loss is lowest; the lowest rate where none stays finite.

    losses: trains a fresh student at a schedule for so many steps and returns the loss of each.
    """
    ends = {}
    for share in SHARES:
        rate = schedule.learning_rate * share
        found = np.array(losses(replace(schedule, learning_rate=rate), STEPS)[-LAST:])
        ends[rate] = float(np.median(found)) if np.isfinite(found).all() else math.inf
    return min(ends, key=lambda rate: (ends[rate], rate))
