"""``kddoctor baseline``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from kddoctor.cli.arguments import RunDir
from kddoctor.cli.exits import INTERRUPTED


def baseline(
    run_dir: RunDir,
    output: Annotated[Path | None, typer.Option(help="A new run directory, instead of adding to RUN_DIR.")] = None,
    as_teacher: Annotated[bool, typer.Option("--as-teacher", help="Train a model of the teacher's make.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the run's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted baseline stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the baseline that is there.")] = False,
) -> None:
    """Train the same student on labels alone and add it to the run, to compare with. Imports the run's code section."""
    from kddoctor.report.baseline import show_baseline
    from kddoctor.run import load
    from kddoctor.run.manifest import MANIFEST_FILE
    from kddoctor.treatment.baseline import train_baseline

    run = load(run_dir)
    if run.manifest.code is not None:
        typer.echo(f"importing and running the code that {run_dir / MANIFEST_FILE} names", err=True)
    try:
        result = train_baseline(
            run, output=output, as_teacher=as_teacher, epochs=epochs, resume=resume, overwrite=overwrite
        )
    except KeyboardInterrupt:
        asked = ["--output", str(output)] if output else []
        asked += ["--as-teacher"] if as_teacher else []
        asked += ["--epochs", str(epochs)] if epochs else []
        again = shlex.join(["kddoctor", "baseline", str(run_dir), *asked, "--resume"])
        typer.echo(f"interrupted; go on with: {again}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    show_baseline(result, str(output or run_dir))
