"""One card for each finding: what was measured, what to change, and what its code means."""

from collections.abc import Mapping
from dataclasses import dataclass

from kddoctor.engine.diagnosis import Diagnosis, EvidenceReport, FindingReport
from kddoctor.report.explain import Block, blocks, sureness
from kddoctor.report.html.tables import Table, cell
from kddoctor.rules.registry import all_rules
from kddoctor.run.directory import Run
from kddoctor.treatment.prescription import change_lines

#: Probe of the strongest evidence to the picture that shows the same.
SHOWN_IN: Mapping[str, str] = {
    "soft-targets": "entropy_curve",
    "loss-forensics": "loss_balance",
    "term-gradients": "loss_balance",
    "layer-similarity": "layer_similarity",
    "example-gaps": "gap_map",
    "class-recall": "confusion_difference",
    "learning-curve": "training_curves",
    "teacher-validity": "reliability",
}
#: Where no probe has a picture: by family of the code.
FAMILY_SHOWN_IN: Mapping[str, str] = {
    "pipeline": "gap_map",
    "loss": "loss_balance",
    "soft-targets": "entropy_curve",
    "capacity": "layer_similarity",
    "optimisation": "training_curves",
    "data": "confusion_difference",
}


@dataclass(frozen=True)
class Card:
    """A finding as the page shows it. picture: name of the view to look at, None where none was drawn."""

    finding: FindingReport
    evidence: Table
    against: Table | None
    diff: tuple[str, ...]
    page: tuple[Block, ...]
    sureness: tuple[str, ...]
    picture: str | None


def cards(run: Run, diagnosis: Diagnosis, drawn: frozenset[str]) -> list[Card]:
    """Every cause, the most likely first. drawn: names of the pictures that the page has."""
    return [_card(run, cause, drawn) for cause in diagnosis.causes]


def _card(run: Run, finding: FindingReport, drawn: frozenset[str]) -> Card:
    rule = all_rules()[finding.code]
    opposing = [item for item in finding.evidence if not item.supports]
    changes = finding.prescription.changes if finding.prescription is not None else {}
    return Card(
        finding=finding,
        evidence=evidence_table([item for item in finding.evidence if item.supports]),
        against=evidence_table(opposing) if opposing else None,
        diff=change_lines(run.manifest, changes),
        page=tuple(blocks(rule.page)),
        sureness=tuple(sureness(rule)),
        picture=_picture(finding, drawn),
    )


def _picture(finding: FindingReport, drawn: frozenset[str]) -> str | None:
    names = [SHOWN_IN.get(item.probe) for item in finding.evidence if item.supports]
    names.append(FAMILY_SHOWN_IN.get(finding.family))
    return next((name for name in names if name in drawn), None)


def evidence_table(evidence: list[EvidenceReport]) -> Table:
    """What was measured, against which limit, and where that limit comes from."""
    return Table(
        heads=("what was seen", "measure", "value", "limit", "origin of the limit", "grade"),
        rows=tuple(
            (
                item.text,
                f"{item.probe}: {item.measure.replace('_', ' ')}",
                cell(item.value),
                cell(item.threshold),
                item.origin,
                item.grade,
            )
            for item in evidence
        ),
        numeric=(False, False, True, True, False, False),
    )
