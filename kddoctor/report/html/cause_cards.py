"""One card for each finding: what was measured, what to change, and what its code means."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from markupsafe import Markup, escape

from kddoctor.engine.diagnosis import Diagnosis, EvidenceReport, FindingReport
from kddoctor.errors import RunError, UsageError
from kddoctor.report.explain import Block, blocks, sureness
from kddoctor.report.html.tables import Table, cell
from kddoctor.rules.registry import all_rules
from kddoctor.run.directory import Run
from kddoctor.treatment.offer import offer_of
from kddoctor.treatment.plan import change_lines
from kddoctor.treatment.scripts.script import runs_as_script

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
class Part:
    """A heading, a paragraph (of one line) or the lines of a diff."""

    kind: Literal["heading", "text", "diff"]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """A finding as the page shows it. picture: name of the view to look at, None where none was drawn."""

    finding: FindingReport
    evidence: Table
    against: Table | None
    diff: tuple[str, ...]
    page: tuple[Part, ...]
    sureness: tuple[str, ...]
    picture: str | None


def cards(run: Run, diagnosis: Diagnosis, drawn: frozenset[str]) -> list[Card]:
    """Every cause, the most likely first. drawn: names of the pictures that the page has."""
    return [_card(run, diagnosis, cause, drawn) for cause in diagnosis.causes]


def _card(run: Run, diagnosis: Diagnosis, finding: FindingReport, drawn: frozenset[str]) -> Card:
    rule = all_rules()[finding.code]
    opposing = [item for item in finding.evidence if not item.supports]
    return Card(
        finding=finding,
        evidence=evidence_table([item for item in finding.evidence if item.supports]),
        against=evidence_table(opposing) if opposing else None,
        diff=_diff(run, diagnosis, finding),
        page=tuple(_parts(rule.page)),
        sureness=tuple(sureness(rule)),
        picture=_picture(finding, drawn),
    )


def _diff(run: Run, diagnosis: Diagnosis, finding: FindingReport) -> tuple[str, ...]:
    """In the terms of the run's own script, where a treatment runs it and it takes the setting from somewhere."""
    automatic = finding.prescription is not None and finding.prescription.automatic
    if automatic and runs_as_script(run.manifest, asked=False):
        with suppress(UsageError, RunError):
            return offer_of(run, diagnosis, [finding.code]).diff
    return change_lines(run.manifest, finding.prescription.changes if finding.prescription is not None else {})


def _parts(page: str) -> Iterator[Part]:
    """An explain page with neighbouring lines of a diff in one part."""
    for kind, run in groupby(blocks(page), key=_kind):
        lines = tuple(block.text for block in run)
        if kind == "diff":
            yield Part(kind, lines)
        else:
            yield from (Part(kind, (line,)) for line in lines)


def _kind(block: Block) -> Literal["heading", "text", "diff"]:
    if block.heading:
        return "heading"
    return "diff" if block.text.startswith(("- ", "+ ")) else "text"


def _picture(finding: FindingReport, drawn: frozenset[str]) -> str | None:
    names = [SHOWN_IN.get(item.probe) for item in finding.evidence if item.supports]
    names.append(FAMILY_SHOWN_IN.get(finding.family))
    return next((name for name in names if name in drawn), None)


def inline_markup(text: str) -> Markup:
    """`code` and *emphasis* of an explain page as elements; everything else escaped."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"(?<![\w*])\*(\w[^*]*)\*(?![\w*])", r"<em>\1</em>", marked))


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
