"""A treatment on the terminal: what is changed and why, before and after, how much of the gap closed."""

from collections.abc import Iterator

from rich.console import Console

from kddoctor.report.terminal import Page, console
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.result import Treatment
from kddoctor.treatment.scripts.treating import ScriptPlan


def show_plan(plan: Plan, seconds: float | None = None, out: Console | None = None) -> None:
    """Print what a treatment would change. seconds: of one training."""
    page = Page(out or console())
    _changes(page, plan)
    page.line()
    page.line("In your own loop", style="bold")
    for line in plan.snippet:
        page.whole(f"  {line}")
    _advice(page, plan)
    page.line()
    page.line(f"Time   {_time(seconds)}")


def show_script_plan(planned: ScriptPlan, out: Console | None = None) -> None:
    """Print what a treatment by the run's own script would change about its settings, and what it would run."""
    page = Page(out or console())
    _changes(page, planned.plan)
    if planned.changed.diff:
        page.line()
        for line in planned.changed.diff:
            page.whole(f"  {line}")
    page.line()
    page.line("Runs, in a copy of the run's code", style="bold")
    page.whole(f"  {planned.changed.command}")
    for doubt in planned.changed.doubts:
        page.line(f"warning: {doubt}", indent=2)
    _advice(page, planned.plan)
    page.line()
    page.line(f"Time   {_times(planned.plan)}")


def _changes(page: Page, plan: Plan) -> None:
    for code in plan.prescription.codes:
        changes = plan.prescription.for_code(code).changes
        page.line(f"{code}  {changes[0].name}: {changes[0].what}   ({changes[0].safety})", style="bold")
        if changes[0].why:
            page.line(changes[0].why, indent=4)
    if plan.diff:
        page.line()
    for line in plan.diff:
        page.whole(f"  {line}")


def _advice(page: Page, plan: Plan) -> None:
    for title, advice in (("By hand", plan.prescription.manual), ("Left out", plan.prescription.left_out)):
        if advice:
            page.line()
            page.line(title, style="bold")
            page.labelled("", [f"{a.finding} {a.name}: {a.what}" for a in advice], indent=2, width=0)


def show_treatment(treatment: Treatment, path: str, out: Console | None = None) -> None:
    """Print the result of a treatment. path: the treated run, as the user wrote it."""
    page = Page(out or console())
    page.line()
    treated = ", ".join(treatment.codes or (treatment.code,))
    page.line(f"Treated {treated}: {treatment.summary}", style="bold")
    parts = [f"before {treatment.before:.1%}", f"after {treatment.after:.1%}"]
    if treatment.labels_only is not None:
        parts.append(f"labels only {treatment.labels_only:.1%}")
    page.line("   ".join([treatment.metric, *parts, f"teacher {treatment.teacher:.1%}"]), indent=3)
    if treatment.change is not None:
        page.line(_change(treatment), indent=3)
    for line in (*_seeds(treatment), *_closed(treatment), *_experiments(treatment), *_verdict(treatment)):
        page.line(line, indent=3)
    page.line(f"the treated run is {treatment.verdict_after}", indent=3)
    page.whole(f"Next  kddoctor diagnose {path}")


def _seeds(treatment: Treatment) -> Iterator[str]:
    if treatment.seeds:
        values = [treatment.after, *(other.after for other in treatment.seeds)]
        yield f"{len(values)} seeds: {min(values):.1%} to {max(values):.1%}"


def _closed(treatment: Treatment) -> Iterator[str]:
    if treatment.share_closed is not None:
        closed = f"{treatment.share_closed:.0%} of the gap to the teacher closed"
        yield closed if treatment.share_closed >= 0 else "the gap to the teacher is wider than before"


def _experiments(treatment: Treatment) -> Iterator[str]:
    for verdict in treatment.experiments:
        yield f"experiment {verdict.experiment}: {verdict.question} {verdict.answer}"
    if len(treatment.worth) > 1:
        shares = (f"{code} {low:+.1f} to {high:+.1f}" for code, (low, high) in treatment.worth.items())
        yield f"points that each cause had cost: {', '.join(shares)}"


def _verdict(treatment: Treatment) -> Iterator[str]:
    if treatment.harmed:
        yield "It did harm: the student is worse than before. Keep the old one."
    elif not treatment.helped:
        yield "It did not help: the difference is within the noise of these rows, or the wrong way."
    elif treatment.confirmed:
        yield f"confirmed by treatment: {', '.join(treatment.confirmed)}"
    if treatment.kept_epoch is not None and treatment.epochs is not None and treatment.kept_epoch < treatment.epochs:
        yield f"kept is epoch {treatment.kept_epoch} of {treatment.epochs}: later ones were clearly worse"


def _change(treatment: Treatment) -> str:
    change = treatment.change
    assert change is not None
    points = [f"{100 * value:+.1f}" for value in (change.value, change.low, change.high)]
    return f"{change.of}: {points[0]} points (95 % interval {points[1]} to {points[2]}, {change.rows:,} rows)"


def _times(plan: Plan) -> str:
    """Of a script, which nothing but itself can time."""
    before, after = plan.before.training.epochs, plan.manifest.training.epochs
    if not before or not after or before == after:
        return "as long as the script takes with the run's own settings"
    return f"{after / before:.3g} times what the script takes with the run's own settings"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not estimated: kd_run.yaml has no code section to time"
    if seconds < 100:
        return f"about {max(1, round(seconds))} s on this machine"
    return f"about {round(seconds / 60)} min on this machine" if seconds < 6000 else f"about {seconds / 3600:.1f} h"
