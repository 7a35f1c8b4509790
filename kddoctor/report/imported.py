"""What an import found, what it did not, and what that leaves unexamined."""

from collections.abc import Iterator, Sequence

from rich.console import Console

from kddoctor.importers.importing import Imported
from kddoctor.report.terminal import Page, console
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import all_rules
from kddoctor.run.directory import Run

#: What it takes to have the parts that most codes need.
REMEDIES = {
    "predictions": "give --teacher-logits, --student-logits and --labels",
    "steps": "only kddoctor.record in the loop sees what the loss saw",
    "metrics": "scalars over time, from kddoctor.record in the loop or the log of a tracker",
}


def show_import(imported: Imported, run: Run, source: str, out: Console | None = None) -> None:
    """Print the report of an import. source: as the user wrote it."""
    page = Page(out or console())
    page.whole(f"{source}   {imported.kind}")
    page.labelled("found", imported.said, indent=2)
    page.labelled("not taken", imported.left, indent=2)
    page.labelled("missing", missing(run), indent=2)


def missing(run: Run) -> Sequence[str]:
    """A line for each part that the run lacks: how many codes need it, and how to have it."""
    return tuple(_missing(run))


def _missing(run: Run) -> Iterator[str]:
    rules = all_rules().values()
    for part, remedy in REMEDIES.items():
        if run.has(part):
            continue
        count = sum(any(_needs(part, measurement.__name__) for measurement in rule.reads) for rule in rules)
        yield f"{part}, which {count} of {len(rules)} codes need: {remedy}"


def _needs(part: str, measurement: str) -> bool:
    """Whether every way to have a measurement starts with this part."""
    needs, _ = RECORD.get(measurement, ((), ""))
    return bool(needs) and all(need.partition("/")[0].partition(".")[0].partition(" ")[0] == part for need in needs)
