"""Rules and findings for the engine to weigh, without a run."""

from __future__ import annotations

from kddoctor.engine.types import Hypothesis
from kddoctor.engine.weighing import weigh
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import Rule


def a_rule(code: str = "KD900", *, stage: int = 10, masks: tuple[str, ...] = (), family: str = "loss") -> Rule:
    """A rule that judges nothing; it is the engine's handle for a code."""
    return Rule(code, f"rule-{code.lower()}", family, "A title", stage, (), (), masks, (), False, (), Finding, "")  # type: ignore[arg-type]


def with_evidence(
    *grades: Grade, against: tuple[Grade, ...] = (), weight: float | None = None, group: str | None = None
) -> Finding:
    """A finding with one measurement of each grade, for and against."""
    finding = Finding()
    for number, grade in enumerate(grades):
        finding = finding.supported_by("probe", f"for-{number}", 1.0, "for", grade=grade, weight=weight, group=group)
    for number, grade in enumerate(against):
        finding = finding.against("probe", f"against-{number}", 1.0, "against", grade=grade, weight=weight)
    return finding


def believed(
    code: str, grade: Grade = Grade.PROOF, *, stage: int = 10, masks: tuple[str, ...] = (), family: str = "loss"
) -> Hypothesis:
    """A hypothesis with enough evidence of one grade."""
    finding = with_evidence(grade, weight=12.0)
    return weigh(a_rule(code, stage=stage, masks=masks, family=family), finding)
