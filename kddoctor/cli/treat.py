"""``kddoctor treat``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from kddoctor.cli.arguments import RunDir, codes_in
from kddoctor.cli.exits import INTERRUPTED


def treat(
    run_dir: RunDir,
    output: Annotated[Path, typer.Option(help="Where the treated run goes.", show_default=False)],
    only: Annotated[str | None, typer.Option(help="Treat only these codes.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the run's own.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be changed, change nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted treatment stopped.")] = False,
) -> None:
    """Retrain a corrected student and measure how much of the gap closes. Imports the run's code section."""
    codes = codes_in(only)
    from kddoctor.report.treatment import show_plan, show_treatment
    from kddoctor.run import load
    from kddoctor.treatment.treat import plan_treatment
    from kddoctor.treatment.treat import treat as retrain

    run = load(run_dir)
    try:
        if dry_run:
            show_plan(plan_treatment(run, only=codes, epochs=epochs))
            return
        treatment = retrain(run, output, only=codes, epochs=epochs, resume=resume)
    except KeyboardInterrupt:
        asked = ["--only", only] if only else []
        asked += ["--epochs", str(epochs)] if epochs else []
        again = shlex.join(["kddoctor", "treat", str(run_dir), "--output", str(output), *asked, "--resume"])
        typer.echo(f"interrupted; go on with: {again}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    show_treatment(treatment, str(output))
