"""A run against its baseline, on the terminal."""

from rich.console import Console
from rich.table import Table

from kddoctor.baselines import Comparison, Regressions
from kddoctor.report.terminal import Page, console

#: Runs below which the noise between seeds is an assumption more than a measurement.
MEASURED = 3


def show_regressions(found: Regressions, out: Console | None = None) -> None:
    """Print every figure, what of it regressed, and what could have been seen at all."""
    page = Page(out or console())
    runs = f"{found.runs} run{'' if found.runs == 1 else 's'}"
    page.line(f"Against the baseline of {runs} ({found.reason}), {found.rows} examples", style="bold")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("figure", "before", "after", "worse by", "p", "seen from", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "") else "right", no_wrap=True)
    for comparison in found.comparisons:
        table.add_row(*_row(comparison))
    page.out.print(table)
    if found.runs < MEASURED:
        page.line(
            f"How much seeds differ was not measured: {runs} cannot tell. Save a baseline of {MEASURED} runs or more "
            "with other seeds, and smaller regressions are seen."
        )
    page.line()


def _row(comparison: Comparison) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    return (
        comparison.figure,
        shown(comparison.before),
        shown(comparison.after),
        f"{comparison.drop:+.3g}",
        "" if comparison.p is None else f"{comparison.p:.2g}",
        shown(comparison.detectable),
        "regression" if comparison.failed else "",
    )
