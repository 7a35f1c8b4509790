"""The diagnosis on the terminal: verdict first and last, evidence for and against, what to do next."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn, TextIO

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kddoctor import __version__
from kddoctor.engine.diagnosis import Diagnosis, EvidenceReport, FindingReport, GapReport

#: Lines longer than this are hard to read; narrower terminals are followed.
WIDEST = 100
#: What stdout gets when it is no terminal.
PIPED_WIDTH = 100
MOST_CAUSES = 5
BAR = 10

BADGES = {
    "sick": ("✗ SICK", "bold white on dark_orange3"),
    "healthy": ("✓ HEALTHY", "bold white on dark_blue"),
    "inconclusive": ("? CANNOT TELL", "bold black on yellow"),
}
PLAIN = {"✗": "x", "✓": "ok", "█": "#", "░": ".", "→": "->", "²": "^2", "–": "-", "‖": "||", "Σ": "sum", "…": "..."}


class _Console(Console):
    """Leaves it to the command what to do when its reader has gone; rich would end it with a code of its own."""

    def on_broken_pipe(self) -> NoReturn:
        """Called while the BrokenPipeError is handled."""
        raise BrokenPipeError


def console(stream: TextIO | None = None) -> Console:
    """A console that wraps nothing silently: as wide as the terminal up to 100 columns, 100 when piped."""
    out = stream or sys.stdout
    probe = Console(file=out, highlight=False)
    terminal = probe.is_terminal and os.environ.get("TERM") != "dumb"
    width = min(probe.width, WIDEST) if terminal else PIPED_WIDTH
    return _Console(file=out, width=max(60, width), highlight=False, soft_wrap=False)


def supported(text: str, encoding: str | None) -> str:
    """The same text in the characters that the stream can carry, without any that would steer a terminal."""
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        for fancy, plain in PLAIN.items():
            text = text.replace(fancy, plain)
        return text.encode("ascii", "replace").decode("ascii")
    return text


class Page:
    """Prints the parts of one answer to one console."""

    def __init__(self, out: Console) -> None:
        self.out = out

    def line(self, text: str = "", style: str | None = None, indent: int = 0) -> None:
        """One paragraph, wrapped under its own indent."""
        body = Text(supported(text, self.out.encoding), style=style or "")
        self.out.print(Padding(body, (0, 0, 0, indent), expand=False) if indent else body)

    def whole(self, text: str) -> None:
        """A command or path, which must never be broken."""
        self.out.print(escape(supported(text, self.out.encoding)), soft_wrap=True)

    def labelled(self, label: str, lines: Iterable[str], indent: int = 4, width: int = 11) -> None:
        """``label      text``, the text wrapped in its own column."""
        for position, text in enumerate(lines):
            row = Table.grid(padding=(0, 0))
            row.add_column(width=indent + width)
            row.add_column(ratio=1, overflow="fold")
            name = " " * indent + (label if position == 0 else "")
            row.add_row(Text(name, style="dim"), Text(supported(text, self.out.encoding)))
            self.out.print(row)


def show_diagnosis(diagnosis: Diagnosis, path: str, out: Console | None = None, *, verbose: bool = False) -> None:
    """Print a diagnosis. path: the run directory as the user wrote it, for the commands to copy."""
    page = Page(out or console())
    _header(page, diagnosis, path)
    if diagnosis.verdict == "sick":
        _causes(page, diagnosis.causes if verbose else diagnosis.causes[:MOST_CAUSES])
    elif diagnosis.verdict == "healthy":
        _notes(page, diagnosis.causes)
        _reassuring(page, diagnosis)
    _symptoms(page, diagnosis)
    _watching(page, diagnosis, verbose)
    _leads(page, diagnosis, verbose)
    if diagnosis.verdict == "inconclusive":
        _advice(page, diagnosis)
    _looked_at(page, diagnosis, verbose)
    _closing(page, diagnosis, path)


def _header(page: Page, diagnosis: Diagnosis, path: str) -> None:
    gap = diagnosis.gap
    examples = f"{gap.rows:,} {gap.split} examples" if gap.rows else "no predictions"
    page.whole(f"kddoctor {__version__}   {path}   {examples}")
    page.line()
    badge, style = BADGES[diagnosis.verdict]
    sentence = Text.assemble(" ", (supported(f" {badge} ", page.out.encoding), style), "  ")
    sentence.append(supported(diagnosis.summary, page.out.encoding), style="bold")
    page.out.print(sentence)
    page.line()
    if gap.teacher is not None and gap.student is not None:
        parts = [f"teacher {gap.teacher:.1%}", f"student {gap.student:.1%}"]
        if gap.baseline is not None:
            parts.append(f"labels only {gap.baseline:.1%}   →   {_brought(gap, gap.student - gap.baseline)}")
        page.line("   ".join(parts), indent=3)
        details = [f"metric {gap.metric}"]
        if gap.retention is not None:
            details.append(f"retention {gap.retention:.1%}")
        if gap.agreement is not None:
            details.append(f"agreement with the teacher {gap.agreement:.1%}")
        page.line("   ".join(details), style="dim", indent=3)
        page.line()


def _brought(gap: GapReport, gained: float) -> str:
    if abs(gained) <= (gap.noise_of_gain or 0.0):
        return f"distilling {100 * gained:+.1f} pt, within noise"
    return f"distilling {'gained' if gained > 0 else 'cost'} {abs(100 * gained):.1f} pt"


def _causes(page: Page, causes: Sequence[FindingReport]) -> None:
    heading = "Cause" if len(causes) == 1 else "Causes, most likely first"
    page.line(f"{heading}{'confidence':>{page.out.width - len(heading) - 6}}", style="bold")
    for number, cause in enumerate(causes, start=1):
        page.line()
        _cause(page, number, cause)
    page.line()


def _cause(page: Page, number: int, cause: FindingReport) -> None:
    filled = round(cause.confidence * BAR)
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=2, justify="right")
    row.add_column(width=6)
    row.add_column(ratio=1, overflow="fold")
    row.add_column(width=BAR + 5, justify="right")
    bar = supported("█" * filled + "░" * (BAR - filled) + f" {cause.confidence:.2f}", page.out.encoding)
    title = Text(supported(cause.title, page.out.encoding), style="bold")
    row.add_row(str(number), Text(cause.code, style="cyan"), title, bar)
    page.out.print(row)
    _evidence(page, [e for e in cause.evidence if e.supports])
    if cause.where:
        page.labelled("where", [cause.where])
    if cause.against:
        page.labelled("against", cause.against)
    if cause.prescription is not None:
        how = "" if cause.prescription.automatic else "  (by hand: kddoctor cannot do it for you)"
        page.labelled("fix", [f"{cause.prescription.summary}{how}"])
    if cause.worth is not None:
        low, high = cause.worth.points
        page.labelled("worth", [f"{low:+.1f} to {high:+.1f} points"])
    page.labelled("status", [f"{cause.status}, severity {cause.severity}"])


def _evidence(page: Page, evidence: Sequence[EvidenceReport]) -> None:
    lines = [f"{item.text}  [{_measured(item)}]" for item in evidence]
    page.labelled("evidence", lines)


def _measured(item: EvidenceReport) -> str:
    value = "" if item.value is None else f" {item.value:.3g}"
    limit = "" if item.threshold is None else f", limit {item.threshold:.3g} ({item.origin})"
    return f"{item.measure}{value}{limit}, {item.grade}"


def _reassuring(page: Page, diagnosis: Diagnosis) -> None:
    if diagnosis.reassuring:
        page.line("Strongest evidence", style="bold")
        for item in diagnosis.reassuring:
            page.labelled(supported("✓", page.out.encoding), [item.text], indent=3, width=3)
        page.line()


def _notes(page: Page, notes: Sequence[FindingReport]) -> None:
    for note in notes:
        page.labelled("note", [f"{note.code}  {note.summary}"], indent=0)


def _symptoms(page: Page, diagnosis: Diagnosis) -> None:
    for symptom in diagnosis.symptoms:
        page.labelled("Symptom", [f"{symptom.code}  {symptom.title}: explained by {symptom.explained_by}"], indent=0)


def _watching(page: Page, diagnosis: Diagnosis, verbose: bool) -> None:
    suspects = [f for f in diagnosis.findings if f.role == "contributor"]
    for suspect in suspects if verbose else suspects[:3]:
        text = f"{suspect.code}  {suspect.title}   confidence {suspect.confidence:.2f}"
        page.labelled("Worth watching", [text], indent=0, width=16)


def _leads(page: Page, diagnosis: Diagnosis, verbose: bool) -> None:
    for lead in diagnosis.leads:
        text = f"{lead.code}  {lead.title}"
        page.labelled("Look next", [f"{text}; {lead.doubt}" if verbose else text], indent=0, width=16)


def _advice(page: Page, diagnosis: Diagnosis) -> None:
    for text in diagnosis.unexplained[:3]:
        page.labelled("Unexplained", [text], indent=0, width=16)
    if diagnosis.advice:
        page.line("To get an answer, record more", style="bold")
        for number, text in enumerate(diagnosis.advice, start=1):
            page.labelled(str(number), [text], indent=1, width=3)
    page.line()


def _looked_at(page: Page, diagnosis: Diagnosis, verbose: bool) -> None:
    if diagnosis.ruled_out:
        page.labelled("Ruled out", [", ".join(diagnosis.ruled_out)], indent=0, width=12)
    if diagnosis.undecided:
        page.labelled("Undecided", [", ".join(diagnosis.undecided)], indent=0, width=12)
    if not diagnosis.not_examined:
        return
    if verbose or len(diagnosis.not_examined) <= 4:
        lines = [f"{item.code}: {item.how}" for item in diagnosis.not_examined]
    else:
        codes = ", ".join(item.code for item in diagnosis.not_examined)
        lines = [f"{codes} (-v says what to record)"]
    page.labelled("Not judged", lines, indent=0, width=12)


def _closing(page: Page, diagnosis: Diagnosis, path: str) -> None:
    sick = [f for f in diagnosis.causes if f.severity != "note"]
    counted = "no causes" if not sick else f"{len(sick)} cause{'s' if len(sick) > 1 else ''}"
    ruled, silent = len(diagnosis.ruled_out), len(diagnosis.not_examined)
    page.line()
    undecided = f"{len(diagnosis.undecided)} undecided, " if diagnosis.undecided else ""
    page.line(f"{counted}, {ruled} ruled out, {undecided}{silent} not examined", style="bold")
    treatable = next((f for f in sick if f.prescription and f.prescription.automatic), None)
    if treatable is not None:
        page.whole(f"Next  kddoctor treat {path} --output {path.rstrip('/')}-treated")
    if sick:
        prefix = "      " if treatable is not None else "Next  "
        page.whole(f"{prefix}kddoctor explain {sick[0].code}")
