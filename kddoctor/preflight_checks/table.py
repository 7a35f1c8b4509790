"""A pre-flight on the terminal: the verdict, one line a check, the verdict again."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kddoctor import __version__
from kddoctor.preflight_checks.result import Check, Preflight
from kddoctor.report.terminal import Page, console, supported

BADGES = {
    "healthy": ("✓ READY", "bold white on dark_blue", "Nothing stands in the way of this distillation."),
    "sick": ("✗ NOT READY", "bold white on dark_orange3", "Mend this before it is trained."),
    "inconclusive": ("? CANNOT TELL", "bold black on yellow", "A check that is needed could not be made."),
}
WORDS = {"ok": ("ok", ""), "fail": ("FAIL", "bold red"), "not checked": ("not checked", "yellow")}


def show_preflight(found: Preflight, path: str, out: Console | None = None) -> None:
    """Print the checks. path: as the user wrote it."""
    page = Page(out or console())
    page.whole(f"kddoctor {__version__}   {path}   pre-flight")
    page.line()
    badge, style, sentence = BADGES[found.verdict]
    line = Text.assemble(" ", (supported(f" {badge} ", page.out.encoding), style), "  ", (sentence, "bold"))
    page.out.print(line)
    page.line()
    for check in found.checks:
        _show(page, check)
    page.line()
    counts = {status: sum(check.status == status for check in found.checks) for status in WORDS}
    closing = f"{counts['fail']} failed, {counts['ok']} ok, {counts['not checked']} not checked"
    page.line(supported(f"{badge}: {closing}", page.out.encoding), style="bold")
    if found.codes:
        page.whole(f"Next  kddoctor explain {found.codes[0]}")


def _show(page: Page, check: Check) -> None:
    row = Table.grid(padding=(0, 1))
    row.add_column(width=11)
    row.add_column(width=16)
    row.add_column(ratio=1, overflow="fold")
    word, style = WORDS[check.status]
    codes = f"{', '.join(check.codes)}  " if check.codes else ""
    row.add_row(Text(word, style=style), check.name, Text(supported(codes + check.text, page.out.encoding)))
    page.out.print(row)
    page.labelled("evidence", check.evidence, indent=30, width=10)
    if check.fix is not None:
        page.labelled("fix", [check.fix], indent=30, width=10)
