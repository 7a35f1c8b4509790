"""``kddoctor treat``."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kddoctor.cli.arguments import RunDir, codes_in
from kddoctor.cli.exits import INTERRUPTED
from kddoctor.files import write_whole

if TYPE_CHECKING:
    from kddoctor.run.directory import Run
    from kddoctor.treatment.plan import Plan
    from kddoctor.treatment.prescription import Prescription


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
    script: Annotated[
        bool, typer.Option("--script", help="Run the script of code.entry, not the functions of the code section.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted treatment stopped.")] = False,
) -> None:
    """Retrain a corrected student and measure how much of the gap closes. Imports or runs the run's code section."""
    codes = codes_in(only)
    from kddoctor.report.treatment import show_treatment
    from kddoctor.run import load
    from kddoctor.treatment.prescription import read_prescription
    from kddoctor.treatment.treat import treat as retrain

    run = load(run_dir)
    given = None if prescription is None else read_prescription(prescription)
    try:
        if dry_run or write_prescription is not None:
            plan, show = _planned(run, given, codes, epochs, script=script)
            if write_prescription is not None:
                write_whole(write_prescription, plan.prescription.to_yaml())
            if dry_run:
                show()
            return
        treatment = retrain(
            run,
            output,
            prescription=given,
            only=codes,
            epochs=epochs,
            seeds=seeds,
            trials=trials,
            script=script,
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
        asked += ["--script"] if script else []
        again = shlex.join(["kddoctor", "treat", str(run_dir), "--output", str(output), *asked, "--resume"])
        typer.echo(f"interrupted; go on with: {again}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    show_treatment(treatment, str(output))


def _planned(
    run: "Run", given: "Prescription | None", codes: Sequence[str], epochs: int | None, *, script: bool
) -> "tuple[Plan, Callable[[], None]]":
    """What would be done, by functions or by the script, and how to show it."""
    from kddoctor.report.treatment import show_plan, show_script_plan
    from kddoctor.treatment.scripts.script import runs_as_script
    from kddoctor.treatment.scripts.treating import plan_script
    from kddoctor.treatment.treat import plan_treatment

    if runs_as_script(run.manifest, asked=script):
        planned = plan_script(run, prescription=given, only=codes, epochs=epochs)
        return planned.plan, lambda: show_script_plan(planned)
    plan = plan_treatment(run, prescription=given, only=codes, epochs=epochs)

    def show() -> None:
        from kddoctor.treatment.estimate import seconds_of

        show_plan(plan, None if run.manifest.code is None else seconds_of(run, plan))

    return plan, show
