"""A treatment on the terminal: what was changed, before and after, how much of the gap closed."""

from rich.console import Console

from kddoctor.report.terminal import Page, console
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.result import Treatment


def show_plan(plan: Plan, out: Console | None = None) -> None:
    """Print what a treatment would change."""
    page = Page(out or console())
    page.line(f"{plan.code}: {plan.summary}", style="bold")
    for line in plan.diff:
        page.whole(f"  {line}")


def show_treatment(treatment: Treatment, path: str, out: Console | None = None) -> None:
    """Print the result of a treatment. path: the treated run, as the user wrote it."""
    page = Page(out or console())
    page.line()
    page.line(f"Treated {treatment.code}: {treatment.summary}", style="bold")
    parts = [f"before {treatment.before:.1%}", f"after {treatment.after:.1%}"]
    if treatment.labels_only is not None:
        parts.append(f"labels only {treatment.labels_only:.1%}")
    page.line("   ".join([treatment.metric, *parts, f"teacher {treatment.teacher:.1%}"]), indent=3)
    if treatment.share_closed is not None:
        closed = f"{treatment.share_closed:.0%} of the gap to the teacher closed"
        page.line(closed if treatment.share_closed >= 0 else "the gap to the teacher is wider than before", indent=3)
    if not treatment.helped:
        page.line("It did not help: the difference is within the noise of these rows, or the wrong way.", indent=3)
    page.line(f"the treated run is {treatment.verdict_after}", indent=3)
    page.whole(f"Next  kddoctor diagnose {path}")
