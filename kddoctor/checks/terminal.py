"""Checks on the terminal: a row of ticks for each family, failures as pytest prints them, and counts."""

from collections.abc import Sequence

from rich.console import Console

from kddoctor import __version__
from kddoctor.checks.results import CheckResult, Outcome, RunChecks, by_family, counts
from kddoctor.report.terminal import Page, console, supported

MARKS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.SKIPPED: "-",
    Outcome.XFAILED: "a",
    Outcome.ERROR: "E",
}
#: A check that passed and is worth watching.
WATCHED = "!"
WORDS = {
    Outcome.PASSED: "PASSED",
    Outcome.FAILED: "FAILED",
    Outcome.SKIPPED: "SKIPPED",
    Outcome.XFAILED: "XFAIL",
    Outcome.ERROR: "ERROR",
}


def show_checks(
    checks: RunChecks, path: str, out: Console | None = None, *, verbose: bool = False, quiet: bool = False
) -> None:
    """Print all checks. path: the run directory as the user wrote it. quiet: what failed, and the counts."""
    page = Page(out or console())
    if not quiet:
        number = f"{len(checks.results)} check{'' if len(checks.results) == 1 else 's'}"
        page.whole(f"kddoctor {__version__}   {path}   {number}   thresholds: {checks.thresholds}")
        page.line()
        if verbose:
            _each(page, checks.results)
        else:
            _rows(page, checks.results)
            _skipped(page, checks.results)
        _failures(page, checks.failed)
        _watching(page, checks)
        _advice(page, checks, path)
    for result in checks.failed:
        page.whole(f"{WORDS[result.outcome]} {result.code} {result.place} - {result.headline}")
    page.line(counts(checks.results) or "no checks", style="bold")


def _rows(page: Page, results: Sequence[CheckResult]) -> None:
    families = by_family(results)
    marks = {family: supported(" ".join(map(_mark, members)), page.out.encoding) for family, members in families}
    widest = max((len(text) for text in marks.values()), default=0)
    for family, members in families:
        page.whole(f"  {family:<13} {marks[family]:<{widest}}   {counts(members)}")
    page.line()


def _skipped(page: Page, results: Sequence[CheckResult]) -> None:
    if any(result.outcome is Outcome.SKIPPED for result in results):
        page.line("Skipped: -v says why, and what to record", style="dim")
        page.line()


def _mark(result: CheckResult) -> str:
    return WATCHED if result.watch and result.outcome is Outcome.PASSED else MARKS[result.outcome]


def _each(page: Page, results: Sequence[CheckResult]) -> None:
    for _, members in by_family(results):
        for result in members:
            why = result.reason or (result.watch and f"worth watching: {result.watch}") or result.headline
            page.whole(f"{result.code} {result.place} {WORDS[result.outcome]}{f' ({why})' if why else ''}")
    page.line()


def _failures(page: Page, failed: Sequence[CheckResult]) -> None:
    if not failed:
        return
    _rule(page, "failures")
    for result in failed:
        page.line(f"{result.code} {result.place}", style="bold")
        for line in (result.headline, *result.advice):
            page.line(line, indent=4)
    _rule(page, "summary")


def _rule(page: Page, title: str) -> None:
    page.out.rule(title, style="dim")


def _watching(page: Page, checks: RunChecks) -> None:
    for result in checks.results:
        if result.watch and result.outcome is Outcome.PASSED:
            page.labelled("Worth watching", [f"{result.code}  {result.watch}"], indent=0, width=16)
    for line in checks.unused:
        page.labelled("Unused", [line], indent=0, width=16)


def _advice(page: Page, checks: RunChecks, path: str) -> None:
    if not checks.ran:
        page.line("Nothing could be checked, so nothing passed.", style="bold")
        page.whole(f"Next  kddoctor diagnose {path} --verbose    says what to record")
