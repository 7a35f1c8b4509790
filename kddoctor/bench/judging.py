"""What kddoctor says of a measured case, beside what is true of it."""

from dataclasses import dataclass

from kddoctor.bench.case import Case
from kddoctor.bench.measuring import Measurement
from kddoctor.bench.recording import Outcome
from kddoctor.bench.tier import Tier
from kddoctor.engine.diagnosis import Diagnosis, judge


@dataclass(frozen=True)
class Result:
    """causes: codes believed, most likely first. ranked: these, then suspicions, then symptoms, then leads.
    confidence, status: of the first cause. unknown: declared sick of something that no rule names. seconds: reading,
    measuring and judging.
    """

    case: Case
    tier: Tier
    outcome: Outcome
    twin: Outcome
    verdict: str
    causes: tuple[str, ...]
    ranked: tuple[str, ...]
    confidence: float
    unknown: bool
    refused: str | None
    seconds: float
    status: str = ""

    @property
    def sick(self) -> bool:
        """Whether the run was called sick."""
        return self.verdict == "sick"

    @property
    def first(self) -> str | None:
        """The first cause."""
        return self.causes[0] if self.sick and self.causes else None

    @property
    def right(self) -> bool:
        """Whether the first cause is a true one."""
        return self.first is not None and self.first in self.case.truth

    @property
    def harm(self) -> float:
        """Points of the metric (0 to 1) that the run stays below its healthy twin."""
        return self.twin.student - self.outcome.student


def judge_measured(case: Case, tier: Tier, outcome: Outcome, twin: Outcome, found: Measurement) -> Result:
    """One diagnosis, as the command line would make it. A record that is refused says nothing about the run."""
    if found.measured is None:
        return Result(case, tier, outcome, twin, "inconclusive", (), (), 0.0, False, found.refused, found.seconds)
    diagnosis = judge("run", found.measured)
    causes = tuple(f.code for f in diagnosis.causes if f.severity != "note")
    return Result(
        case=case,
        tier=tier,
        outcome=outcome,
        twin=twin,
        verdict=diagnosis.verdict,
        causes=causes,
        ranked=ranked_of(diagnosis),
        confidence=diagnosis.causes[0].confidence if causes else 0.0,
        unknown=diagnosis.verdict == "inconclusive" and bool(diagnosis.unexplained),
        refused=None,
        seconds=found.seconds,
        status=diagnosis.causes[0].status if causes else "",
    )


def ranked_of(diagnosis: Diagnosis) -> tuple[str, ...]:
    """All codes that a reader is shown: causes, then suspicions, then symptoms, then leads."""
    causes = [f.code for f in diagnosis.causes if f.severity != "note"]
    others = [f.code for role in ("contributor", "symptom") for f in diagnosis.findings if f.role == role]
    return tuple(dict.fromkeys((*causes, *others, *(lead.code for lead in diagnosis.leads))))
