"""The five layers of a diagnosis, never mixed.

observation (a measured value, inside Evidence) → finding (evidence against thresholds, ``kddoctor.rules.finding``)
→ hypothesis (a named cause) → differential (all hypotheses, weighed) → plan (what to change, and how to test it).
Only a hypothesis names a cause.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from kddoctor.rules.finding import Finding, Grade, NotExamined, Prescription
from kddoctor.rules.registry import Rule

Role = Literal["cause", "contributor", "symptom"]


class Status(StrEnum):
    """How sure a hypothesis may sound, from the grade of its best evidence."""

    SUSPECTED = "suspected"
    PROBABLE = "probable"
    CONFIRMED = "confirmed"


@dataclass(frozen=True)
class Hypothesis:
    """One named cause with its weighed evidence.

    log_odds: prior plus log-likelihood ratios, nats. confidence: probability, capped by grade. conflict: proof on
    both sides. explained_by: code of the established cause that accounts for this one's evidence.
    """

    rule: Rule
    finding: Finding
    log_odds: float
    confidence: float
    grade: Grade
    status: Status
    conflict: bool
    explained_by: str | None = None


@dataclass(frozen=True)
class Differential:
    """All explanations of the run, weighed: named causes, "healthy" and "sick, cause unknown" (sum of shares is 1).

    established: causes believed. suspects: hypotheses with some support that are not. refuted: codes that were
    looked for and not found. open: examined, and neither suspected nor refuted. not_examined: what was not recorded.
    """

    established: tuple[Hypothesis, ...]
    explained: tuple[Hypothesis, ...]
    suspects: tuple[Hypothesis, ...]
    refuted: tuple[Hypothesis, ...]
    open: tuple[Hypothesis, ...]
    not_examined: tuple[tuple[Rule, NotExamined], ...]
    healthy: float
    unknown: float
    unexplained: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What to do about the first cause, and how to see whether it helped."""

    code: str
    prescription: Prescription
    test: str


@dataclass(frozen=True)
class Outcome:
    """How the run ended, in the task's own metric on held-out rows.

    retention: student over teacher. standard_error: of the student's metric. baseline: the same student without a
    teacher. effect: share of the labels-only student's divergence from the teacher that distilling removed.
    """

    metric: str
    split: str
    rows: int
    teacher: float | None
    student: float | None
    baseline: float | None
    agreement: float | None
    chance: float | None
    standard_error: float
    effect: float | None

    @property
    def retention(self) -> float | None:
        """Student over teacher, None where either is missing or the teacher is at zero."""
        if self.teacher is None or self.student is None or self.teacher <= 0:
            return None
        return self.student / self.teacher

    @property
    def skill_kept(self) -> float | None:
        """Share of the teacher's advantage over chance that the student kept."""
        if self.teacher is None or self.student is None or self.chance is None:
            return None
        advantage = self.teacher - self.chance
        return None if advantage <= 0 else (self.student - self.chance) / advantage
