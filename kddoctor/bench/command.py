"""What ``kddoctor bench`` does on a terminal: progress on stderr, figures on stdout."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from kddoctor.bench.accuracy import accuracy_text
from kddoctor.bench.benchmark import (
    SNAPSHOT,
    SUMMARY,
    benchmark,
    differences,
    quick,
    snapshot_text,
    with_treatments_of,
    write_report,
)
from kddoctor.bench.confidence import confidence_text
from kddoctor.bench.labelled import judge_labelled, read_truth, shares
from kddoctor.bench.leads import leads_text
from kddoctor.bench.recording import Cache
from kddoctor.bench.report.markdown import fill_readme
from kddoctor.bench.report.tables import headline
from kddoctor.bench.running import Progress as Report
from kddoctor.bench.task import NAMES, TRIAL_TASKS
from kddoctor.errors import UsageError

Write = Callable[[Path, str], object]


def run_full(
    cache: Path,
    jobs: int,
    output: Path,
    cures: bool,
    write: Write,
    tasks: Sequence[str],
    *,
    readme: Path | None,
    accuracy: Path | None,
    confidence: Path | None,
    leads: Path | None,
) -> bool:
    """Everything; True, since a missed target is a figure and no failure."""
    with _progress() as progress:
        report = benchmark(cache, jobs=jobs, progress=progress, cures=cures, tasks=tasks)
    if not cures and (output / SUMMARY).is_file():
        report = with_treatments_of(report, json.loads((output / SUMMARY).read_text("utf-8")))
    written = write_report(report, output, write)
    if readme is not None:
        write(readme, fill_readme(readme.read_text("utf-8"), report.summary))
    if accuracy is not None:
        write(accuracy, accuracy_text(report.results, report.gate))
    if confidence is not None:
        earlier = json.loads(confidence.read_text("utf-8")) if confidence.is_file() else None
        write(confidence, confidence_text(report.results, report.gate, earlier))
    if leads is not None:
        write(leads, leads_text(report.results, report.gate, Cache(cache)))
    shown = headline(report.summary)
    table = Table(*shown.heads, title=shown.title, caption=shown.caption)
    for row in shown.rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print("written: " + ", ".join(str(path) for path in written), soft_wrap=True)
    return True


def run_labelled(truth: Path, jobs: int) -> bool:
    """Recorded runs of one's own against their truth; True, since a miss is a figure and no failure."""
    runs = read_truth(truth)
    with _progress() as progress:
        judged = judge_labelled(runs, jobs, progress)
    misses = Table("run", "truth", "lost", "verdict", "causes", title="Not right")
    for one in judged:
        if not one.right:
            lost = "" if one.run.harm is None else f"{100 * one.run.harm:.1f}"
            said = one.reason or " ".join(one.causes)
            misses.add_row(*map(escape, (one.run.path.name, one.run.code or "sound", lost, one.verdict, said)))
    table = Table("", "of", "share", "95 % interval", title=f"{len(judged)} runs of {escape(str(truth))}")
    for share in shares(judged):
        low, high = share.interval
        of, part = f"{share.hits} of {share.all}", f"{share.hits / share.all:.0%}"
        table.add_row(share.name, of, part, f"{low:.0%} to {high:.0%}")
    console = Console()
    console.print(misses)
    console.print(table)
    return True


def chosen_tasks(names: str | None) -> tuple[str, ...]:
    """Tasks by names with commas between them; all of the report's for None. Raises UsageError for an unknown one."""
    chosen = NAMES if names is None else tuple(name.strip() for name in names.split(","))
    known = (*NAMES, *TRIAL_TASKS)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise UsageError(f"--tasks: no task is called {unknown[0]!r}; expected some of {', '.join(known)}.")
    return chosen


def run_quick(cache: Path, jobs: int, accept: bool) -> bool:
    """The slice; whether its verdicts are the committed ones."""
    with _progress() as progress:
        found = quick(cache, jobs=jobs, progress=progress)
    console = Console()
    if accept:
        (Path(__file__).parent / SNAPSHOT).write_text(snapshot_text(found), "utf-8")
        console.print(f"{len(found)} verdicts are now the committed ones", soft_wrap=True)
        return True
    other = differences(found)
    for difference in other:
        console.print(
            f"{difference.label}: {difference.found or 'not run'} (committed: {difference.committed or 'nothing'})",
            soft_wrap=True,
            markup=False,
        )
    console.print(f"{len(found)} verdicts, {len(other)} other than committed")
    return not other


@contextmanager
def _progress() -> Iterator[Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield show
