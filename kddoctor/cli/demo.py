"""``kddoctor demo``."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    name: Annotated[str | None, typer.Argument(help="Which fault; `--list` shows them.")] = None,
    output: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the whole demo.")] = 0,
    show_list: Annotated[bool, typer.Option("--list", help="List the faults.")] = False,
) -> None:
    """Record a sick distillation of real images, diagnose it, cure it, show the proof."""
    from kddoctor.demo.demo import list_faults, run_demo

    if show_list:
        for line in list_faults():
            typer.echo(line)
        return
    from kddoctor.report.terminal import show_diagnosis
    from kddoctor.report.treatment import show_treatment

    status = run_demo(
        name,
        output,
        seed=seed,
        echo=typer.echo,
        show_diagnosis=lambda diagnosis, path: show_diagnosis(diagnosis, str(path)),
        show_treatment=lambda treatment, path: show_treatment(treatment, str(path)),
    )
    raise typer.Exit(status)
