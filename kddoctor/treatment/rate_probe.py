"""A short learning-rate probe: which rate a loop can bear that diverged, or whose rate does not fit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from kddoctor.treatment.schedule import Schedule

#: Training steps at each rate, and how many of the last losses are looked at.
STEPS, LAST = 60, 10
#: Rates of AdamW, whose steps do not grow with gradients (Loshchilov and Hutter 2019, arXiv:1711.05101), and the share
#: of the own optimizer's loss below which it is taken instead.
ADAPTIVE, CLEARLY = (1e-2, 1e-3, 1e-4), 0.9
#: From a schedule and a number of steps to the loss of each, for a fresh student.
Losses = Callable[[Schedule, int], list[float]]


def fitting_rate(schedule: Schedule, shares: Sequence[float], losses: Losses) -> Schedule:
    """The schedule with the rate after whose ``STEPS`` steps the loss is lowest; the lowest where none stays finite.

    shares: rates that are tried, in multiples of the schedule's own (Smith 2017, arXiv:1506.01186, tries a range as
    well). An optimizer that may not suit the student at any rate is given up for AdamW where that is clearly better.
    """
    own = [replace(schedule, learning_rate=schedule.learning_rate * share) for share in shares]
    best, loss = _best(own, losses)
    if not schedule.optimizer.startswith("adam"):
        adaptive = [replace(schedule, optimizer="adamw", learning_rate=rate) for rate in ADAPTIVE]
        other, reached = _best(adaptive, losses)
        if reached < CLEARLY * loss:
            return other
    return best


def _best(tried: Sequence[Schedule], losses: Losses) -> tuple[Schedule, float]:
    ends = [(_end(losses(schedule, STEPS)), schedule.learning_rate, schedule) for schedule in tried]
    loss, _, schedule = min(ends, key=lambda end: end[:2])
    return schedule, loss


def _end(losses: Sequence[float]) -> float:
    last = np.array(losses[-LAST:])
    return float(np.median(last)) if np.isfinite(last).all() else math.inf
