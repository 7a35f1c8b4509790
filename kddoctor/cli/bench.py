"""``kddoctor bench``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from kddoctor.cli.exits import INTERRUPTED
from kddoctor.files import write_whole


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="A slice in three minutes, against committed verdicts.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="With --quick: make its verdicts the committed ones.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    cache: Annotated[Path, typer.Option(help="Where records are kept, for the next time.")] = Path(".bench"),
    output: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("reports"),
    cures: Annotated[
        bool,
        typer.Option(help="Also retrain by the prescriptions; without, the report keeps what it said of treatments."),
    ] = True,
    readme: Annotated[Path | None, typer.Option(help="Fill the benchmark's table in this file, too.")] = None,
    accuracy: Annotated[Path | None, typer.Option(help="Write how often each code is right here, too.")] = None,
    confidence: Annotated[
        Path | None, typer.Option(help="Write what stated confidence comes from here, too; judge again afterwards.")
    ] = None,
    leads: Annotated[
        Path | None, typer.Option(help="Write what leads come from here, too; judge again afterwards.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these tasks: names with commas between them.")] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="Judge recorded runs instead: a CSV file with columns run and code (none for sound ones)."),
    ] = None,
) -> None:
    """The fault benchmark: how often the diagnosis is right, on faults that no rule was tuned on."""
    from kddoctor.bench.command import chosen_tasks, run_full, run_labelled, run_quick
    from kddoctor.errors import STRICT

    chosen = chosen_tasks(tasks)
    os.environ[STRICT] = "1"  # a diagnosis that lost one of its rules is no figure
    try:
        if truth is not None:
            same = run_labelled(truth, jobs)
        elif quick:
            same = run_quick(cache, jobs, accept)
        else:
            files = {"readme": readme, "accuracy": accuracy, "confidence": confidence, "leads": leads}
            same = run_full(cache, jobs, output, cures, write_whole, chosen, **files)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(0 if same else 1)
