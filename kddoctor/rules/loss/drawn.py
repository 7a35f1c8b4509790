"""Losses of which one term is drawn at each step: the teacher's with a chance that stands for its weight."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from kddoctor.probes.loss_schedule import LARGEST, ROUNDING, LossSchedule
from kddoctor.rules.settings import Share

#: Probability below which as many draws as these were not made with a chance.
UNLIKELY: Share = 0.01


@dataclass(frozen=True)
class Drawn:
    """steps: recorded ones, each of which has one term alone. teacher: those with the teacher's."""

    steps: int
    teacher: int

    def may_be(self, chance: float) -> bool:
        """Whether the teacher's term may have been drawn with this chance (exact binomial test)."""
        return bool(binomtest(self.teacher, self.steps, chance).pvalue >= UNLIKELY)

    @property
    def text(self) -> str:
        """For people."""
        return f"at each step the total is one of the terms alone: the teacher's at {self.teacher} of {self.steps}"


def drawn_terms(schedule: LossSchedule | None) -> Drawn | None:
    """None where weights move in any other way; terms that take turns once are phases, and no draws."""
    if schedule is None or schedule.what != "mixing weight":
        return None
    alone = schedule.strength >= LARGEST
    if not (alone | (schedule.strength <= ROUNDING)).all() or np.count_nonzero(np.diff(alone)) < 2:
        return None
    return Drawn(len(alone), int(alone.sum()))
