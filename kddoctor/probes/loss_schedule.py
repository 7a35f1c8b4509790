"""Does the strength of the distillation term move along the run, although the record declares one that stays?

Each recorded step has one unknown, the weight that makes its total right. Solved step by step, a wrong guess leaves
weights that jump with the batches; where they are a schedule, they move steadily, or take a few values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
What = Literal["weight", "mixing weight", "weight of the labels", "factor inside the term"]

#: Steps from which a steady course is no accident: of eight numbers in any order, 1 in 150 turns no more than once.
MIN_STEPS = 8
#: Part of the range, or of the largest value, that rounding may be.
ROUNDING = 1e-3
#: Times that a schedule may turn, and values that one with steps may take.
MOST_TURNS, MOST_VALUES = 1, 3
#: Strengths beyond this one are not told apart.
LARGEST = 1e6
#: Degree of a polynomial that is a schedule, where it leaves nothing over.
DEGREE = 4


@dataclass(frozen=True)
class LossSchedule:
    """strength: [steps] of the distillation term against the labels, over the declared one. step: [steps] numbers.

    what: which number moves. Sources: the ramps of Laine and Aila 2017, arXiv:1610.02242, and of Tarvainen and Valpola
    2017, arXiv:1703.01780.
    """

    what: What
    step: NDArray[np.int64]
    strength: Array

    @property
    def mean(self) -> float:
        """Over the recorded steps."""
        return float(self.strength.mean())

    @property
    def first(self) -> float:
        """At the first recorded step."""
        return float(self.strength[0])

    @property
    def last(self) -> float:
        """At the last recorded step."""
        return float(self.strength[-1])


def find_schedule(
    step: NDArray[np.int64],
    total: Array,
    ce: Array,
    kd: Array | None,
    meant: Array | None,
    alpha: float,
    *,
    balance: float | None,
) -> LossSchedule | None:
    """The steady course that explains the recorded losses, or None.

    total, ce, kd, meant: [steps] the recorded total, the hard-label term, the recorded distillation term (None where it
    was not recorded) and the declared one. balance: strength of the recorded term in the total over the declared one,
    where that is fixed; None where it is what moves. 0 < alpha < 1.
    """
    order = np.argsort(step, kind="stable")
    for what, number, strength in _candidates(total, ce, kd, meant, alpha, balance):
        course = strength[order]
        if steady(number[order], step[order]) and not (course < -ROUNDING).any():
            return LossSchedule(what, step[order], np.clip(np.nan_to_num(course, nan=0.0), 0.0, LARGEST))
    return None


def _candidates(
    total: Array, ce: Array, kd: Array | None, meant: Array | None, alpha: float, balance: float | None
) -> Iterator[tuple[What, Array, Array]]:
    """(what moves, the number that does, strength that it gives the distillation term over the declared one)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if balance is not None:
            if kd is not None and meant is not None:
                yield "factor inside the term", kd / meant, kd / meant * balance
            return
        term = meant if kd is None else kd
        if term is None:
            return
        weight = (total - (1 - alpha) * ce) / (alpha * term)
        yield "weight", weight, weight
        mixing = (total - ce) / (term - ce)
        yield "mixing weight", mixing, mixing / (1 - mixing) * (1 - alpha) / alpha
        labels = (total - alpha * term) / ((1 - alpha) * ce)
        yield "weight of the labels", labels, 1 / labels
        beside = (total - ce) / term
        yield "weight", beside, beside * (1 - alpha) / alpha


def steady(values: Array, step: NDArray[np.int64]) -> bool:
    """Whether numbers in order of time are a schedule: few turns, or few values, and not all the same."""
    if len(values) < MIN_STEPS or not np.isfinite(values).all():
        return False
    largest = float(np.abs(values).max())
    extent = float(np.ptp(values))
    if extent <= 10 * ROUNDING * largest:
        return False
    return _few_values(values, largest) or _few_turns(values, extent) or _polynomial(values, step, extent)


def _few_values(values: Array, largest: float) -> bool:
    ordered = np.sort(values)
    groups = np.split(ordered, np.flatnonzero(np.diff(ordered) > ROUNDING * largest) + 1)
    close = all(np.ptp(group) <= ROUNDING * largest for group in groups)
    return close and len(groups) <= min(MOST_VALUES, len(values) // 4)


def _few_turns(values: Array, extent: float) -> bool:
    moves = np.diff(values)
    moves = moves[np.abs(moves) > ROUNDING * extent]
    return int((np.sign(moves[1:]) != np.sign(moves[:-1])).sum()) <= MOST_TURNS


def _polynomial(values: Array, step: NDArray[np.int64], extent: float) -> bool:
    if len(values) < 3 * DEGREE:
        return False
    x = (step - step.mean()) / max(float(step.std()), 1e-9)
    rest = values - np.polyval(np.polyfit(x, values, DEGREE), x)
    return bool(np.abs(rest).max() <= ROUNDING * extent)
