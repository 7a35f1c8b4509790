"""A baseline on the terminal: what labels alone reach, beside the student and its teacher."""

from rich.console import Console

from kddoctor.report.terminal import Page, console
from kddoctor.treatment.baseline import BaselineResult


def show_baseline(result: BaselineResult, path: str, out: Console | None = None) -> None:
    """Print what was trained and how it did. path: the run that has it now, as the user wrote it."""
    page = Page(out or console())
    page.line()
    page.line(f"Trained the {result.twin.name}: {result.epochs} epochs, seed {result.seed}", style="bold")
    gap = result.gap
    parts = [f"labels only {result.metric:.1%}"]
    parts += [f"{name} {value:.1%}" for name, value in (("student", gap.student), ("teacher", gap.teacher)) if value]
    page.line("   ".join([gap.metric, *parts]), indent=3)
    page.whole(f"Next  kddoctor diagnose {path}")
