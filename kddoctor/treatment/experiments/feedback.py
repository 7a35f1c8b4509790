"""What experiments and a treatment say about a diagnosis: codes confirmed or refuted, and points that were measured."""

import math
from collections.abc import Sequence

from kddoctor.engine.diagnosis import Diagnosis, EvidenceReport, FindingReport
from kddoctor.rules.registry import all_rules
from kddoctor.treatment.experiments.experiment import Verdict
from kddoctor.treatment.prescription import Change

#: What an intervention that worked makes of a suspicion.
STATUS = "confirmed by experiment"
#: Confidence of a cause whose cure was better in the whole of its interval: that interval's own.
SURE = 0.95


def with_experiments(diagnosis: Diagnosis, verdicts: Sequence[Verdict]) -> Diagnosis:
    """The diagnosis with the verdicts as evidence: suspicions are confirmed or ruled out; nothing proven is touched."""
    for verdict in verdicts:
        for code in verdict.refutes:
            diagnosis = _refuted(diagnosis, code)
        for code in verdict.confirms:
            diagnosis = _confirmed(diagnosis, code, _evidence(verdict))
    return diagnosis


def best_of(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The one whose better arm is worth keeping.

    One alone: what helps by itself need not help beside another, and nobody has trained the two together.
    """
    worth = [verdict for verdict in verdicts if verdict.changes]
    return max(worth, key=lambda verdict: -math.inf if verdict.low is None else verdict.low, default=None)


def worth_keeping(best: Verdict) -> tuple[Change, ...]:
    """What its better arm did otherwise, as changes of a prescription."""
    return tuple(
        Change(
            key=key,
            after=value,
            finding=best.confirms[0] if best.confirms else best.experiment,
            name=best.experiment,
            why=best.answer,
            what=f"{best.best} (experiment {best.experiment})",
            safety="careful",
        )
        for key, value in best.changes.items()
    )


def _evidence(verdict: Verdict) -> EvidenceReport:
    return EvidenceReport(
        probe=f"experiment {verdict.experiment}",
        measure="change",
        value=verdict.change,
        threshold=0.0,
        supports=True,
        text=f"{verdict.question} {verdict.answer}",
        origin="paired trainings",
        grade="interventional",
    )


def _refuted(diagnosis: Diagnosis, code: str) -> Diagnosis:
    if not any(f.code == code and not _is_shown(f) for f in diagnosis.findings):
        return diagnosis
    left = tuple(f for f in diagnosis.findings if f.code != code)
    return _judged(diagnosis.model_copy(update={"findings": left, "ruled_out": (*diagnosis.ruled_out, code)}))


def _confirmed(diagnosis: Diagnosis, code: str, evidence: EvidenceReport) -> Diagnosis:
    known = next((f for f in diagnosis.findings if f.code == code), None)
    if known is not None and _is_shown(known):
        return diagnosis
    found = known or _unknown(code, evidence)
    shown = {
        "status": STATUS,
        "role": "cause",
        "severity": "warning" if found.severity == "note" else found.severity,
        "confidence": max(found.confidence, SURE),
        "evidence": (*found.evidence, evidence),
    }
    others = tuple(f for f in diagnosis.findings if f.code != code)
    causes = sum(f.role == "cause" for f in others)
    findings = (*others[:causes], found.model_copy(update=shown), *others[causes:])
    undecided = tuple(c for c in diagnosis.undecided if c != code)
    return _judged(diagnosis.model_copy(update={"findings": findings, "undecided": undecided}))


def _unknown(code: str, evidence: EvidenceReport) -> FindingReport:
    """A finding of a code that the record alone did not show."""
    rule = all_rules()[code]
    return FindingReport(
        code=code,
        name=rule.name,
        family=rule.family,
        role="cause",
        severity="warning",
        confidence=SURE,
        status=STATUS,
        title=rule.title,
        summary=f"{rule.title}: {evidence.text}",
        evidence=(),
        against=(),
        where=None,
        worth=None,
        explained_by=None,
        prescription=None,
    )


def _judged(diagnosis: Diagnosis) -> Diagnosis:
    """With the verdict that its findings now call for."""
    causes = [f for f in diagnosis.findings if f.role == "cause" and f.severity != "note"]
    if causes:
        return diagnosis.model_copy(update={"verdict": "sick", "summary": causes[0].summary})
    if diagnosis.verdict != "sick":
        return diagnosis
    summary = "Experiments ruled out what was suspected; nothing else that was looked at explains the gap."
    return diagnosis.model_copy(update={"verdict": "inconclusive", "summary": summary})


def _is_shown(finding: FindingReport) -> bool:
    return finding.status.startswith("confirmed")
