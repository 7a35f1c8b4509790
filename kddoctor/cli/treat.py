"""``kddoctor treat``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from kddoctor.cli.arguments import RunDir, codes_in
from kddoctor.cli.exits import INTERRUPTED
from kddoctor.files import write_whole


def treat(
    run_dir: RunDir,
    output: Annotated[Path, typer.Option(help="Where the treated run goes.", show_default=False)],
    only: Annotated[str | None, typer.Option(help="Treat only these codes.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the run's own.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Students to train, from as many seeds.")] = 1,
    trials: Annotated[int, typer.Option(min=0, help="Trainings to spend on experiments first.")] = 0,
    engine: Annotated[str, typer.Option(metavar="local|ray", help="Train here, or on a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Processes that retrain together, with --engine ray.")] = 1,
    prescription: Annotated[Path | None, typer.Option(help="Follow this file, not the diagnosis.")] = None,
    write_prescription: Annotated[
        Path | None, typer.Option("--write-prescription", help="Write what would be changed to this file, and stop.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be changed, change nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted treatment stopped.")] = False,
) -> None:
    """Retrain a corrected student and measure how much of the gap closes. Imports the run's code section."""
    codes = codes_in(only)
    from kddoctor.report.treatment import show_plan, show_treatment
    from kddoctor.run import load
    from kddoctor.treatment.prescription import read_prescription
    from kddoctor.treatment.treat import plan_treatment
    from kddoctor.treatment.treat import treat as retrain

    run = load(run_dir)
    given = None if prescription is None else read_prescription(prescription)
    try:
        if dry_run or write_prescription is not None:
            plan = plan_treatment(run, prescription=given, only=codes, epochs=epochs)
            if write_prescription is not None:
                write_whole(write_prescription, plan.prescription.to_yaml())
            if dry_run:
                from kddoctor.treatment.estimate import seconds_of

                show_plan(plan, None if run.manifest.code is None else seconds_of(run, plan))
            return
        treatment = retrain(
            run,
            output,
            prescription=given,
            only=codes,
            epochs=epochs,
            seeds=seeds,
            trials=trials,
            engine=engine,
            workers=workers,
            resume=resume,
        )
    except KeyboardInterrupt:
        asked = ["--only", only] if only else []
        asked += ["--epochs", str(epochs)] if epochs else []
        asked += ["--seeds", str(seeds)] if seeds > 1 else []
        asked += ["--trials", str(trials)] if trials else []
        asked += ["--engine", engine] if engine != "local" else []
        asked += ["--workers", str(workers)] if workers > 1 else []
        asked += ["--prescription", str(prescription)] if prescription else []
        again = shlex.join(["kddoctor", "treat", str(run_dir), "--output", str(output), *asked, "--resume"])
        typer.echo(f"interrupted; go on with: {again}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    show_treatment(treatment, str(output))
