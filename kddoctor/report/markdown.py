"""The diagnosis as Markdown, for pull requests, job summaries and wikis."""

import re
from collections.abc import Iterable, Iterator

from kddoctor.engine.diagnosis import Diagnosis, EvidenceReport, FindingReport
from kddoctor.errors import one_line
from kddoctor.rules.registry import all_rules
from kddoctor.run.directory import Run

VERDICTS = {"sick": "SICK", "healthy": "HEALTHY", "inconclusive": "CANNOT TELL"}
#: Characters that mean something in Markdown, its tables, HTML or the mathematics of forges.
_ACTIVE = re.compile(r"([\\`*_\[\]<>|~&$#])")


def render_markdown(diagnosis: Diagnosis, run: Run) -> str:
    """Verdict, table of causes, each with evidence for and against, what was not seen, and the verdict again."""
    del run  # everything is in the diagnosis; other formats point into the run's files
    return "\n".join(_lines(diagnosis))


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield f"# kddoctor: {escaped(diagnosis.run)}"
    yield ""
    yield _verdict(diagnosis)
    yield ""
    yield from _gap(diagnosis)
    causes = diagnosis.causes
    if causes:
        yield from _table(("#", "code", "cause", "severity", "confidence"), _cause_rows(causes))
        for number, cause in enumerate(causes, start=1):
            yield from _cause(number, cause)
    yield from _bullets("Strongest evidence", (escaped(e.text) for e in diagnosis.reassuring if not causes))
    yield from _bullets("To get an answer, record more", map(escaped, diagnosis.advice))
    yield from _bullets("Unexplained", map(escaped, diagnosis.unexplained))
    others = [f for f in diagnosis.findings if f.role != "cause"]
    yield from _bullets("Symptoms, and what is worth watching", map(_other, others))
    leads = (f"{lead.code} {escaped(lead.title)}: {escaped(lead.doubt)}" for lead in diagnosis.leads)
    yield from _bullets("Look next", leads)
    yield from _codes("Ruled out", diagnosis.ruled_out)
    yield from _codes("Undecided", diagnosis.undecided)
    yield from _bullets("Not examined", (f"{_named(i.code)}: {escaped(i.how)}" for i in diagnosis.not_examined))
    yield from _bullets("Warnings", map(escaped, diagnosis.warnings))
    yield _verdict(diagnosis)
    yield ""


def _verdict(diagnosis: Diagnosis) -> str:
    return f"**{VERDICTS[diagnosis.verdict]}** {escaped(diagnosis.summary)}"


def _gap(diagnosis: Diagnosis) -> Iterator[str]:
    gap = diagnosis.gap
    measured = {
        f"teacher ({gap.metric})": gap.teacher,
        f"student ({gap.metric})": gap.student,
        f"student on labels alone ({gap.metric})": gap.baseline,
        "retention": gap.retention,
        "agreement with the teacher": gap.agreement,
    }
    rows = [(escaped(name), f"{value:.1%}") for name, value in measured.items() if value is not None]
    if rows:
        yield from _table((f"{gap.rows:,} {escaped(gap.split)} examples", ""), rows)


def _cause_rows(causes: Iterable[FindingReport]) -> Iterator[tuple[str, ...]]:
    for number, cause in enumerate(causes, start=1):
        yield str(number), cause.code, escaped(cause.title), cause.severity, f"{cause.confidence:.2f}"


def _cause(number: int, cause: FindingReport) -> Iterator[str]:
    yield f"## {number}. {cause.code} {escaped(cause.title)}"
    yield ""
    yield escaped(cause.summary)
    yield ""
    for item in cause.evidence:
        if item.supports:
            yield f"- for: {escaped(item.text)} ({_measured(item)})"
    for text in cause.against:
        yield f"- against: {escaped(text)}"
    if cause.where is not None:
        yield f"- where: {escaped(cause.where)}"
    if cause.prescription is not None:
        by_hand = "" if cause.prescription.automatic else " (by hand)"
        yield f"- fix: {escaped(cause.prescription.summary)}{by_hand}"
    if cause.worth is not None:
        low, high = cause.worth.points
        yield f"- worth: {low:+.1f} to {high:+.1f} points"
    yield f"- status: {escaped(cause.status)}; more with `kddoctor explain {cause.code}`"
    yield ""


def _measured(item: EvidenceReport) -> str:
    value = "" if item.value is None else f" {item.value:.3g}"
    limit = "" if item.threshold is None else f", limit {item.threshold:.3g}"
    return f"{escaped(item.measure)}{value}{limit}, {item.grade}"


def _other(finding: FindingReport) -> str:
    what = (
        f"explained by {finding.explained_by}"
        if finding.role == "symptom"
        else f"suspected, confidence {finding.confidence:.2f}"
    )
    return f"{finding.code} {escaped(finding.title)}: {what}"


def _named(code: str) -> str:
    return f"{code} {all_rules()[code].name}"


def _codes(heading: str, codes: Iterable[str]) -> Iterator[str]:
    listed = ", ".join(map(_named, codes))
    if listed:
        yield from (f"**{heading}**: {listed}", "")


def _bullets(heading: str, lines: Iterable[str]) -> Iterator[str]:
    listed = [f"- {line}" for line in lines]
    if listed:
        yield from (f"**{heading}**", "", *listed, "")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (header, ("---",) * len(header), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def escaped(text: str) -> str:
    """A line that Markdown shows as it stands: no formatting, HTML, link, mention or reference in it."""
    line = _ACTIVE.sub(r"\\\1", one_line(text))
    # Forges turn bare addresses into links, and @name into a mail to that person.
    line = re.sub(r"(?i)(https?|ftp|mailto|www)([:.])", r"\1\\\2", line)
    return line.replace("@", "@<!-- -->")
