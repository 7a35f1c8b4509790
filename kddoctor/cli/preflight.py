"""``kddoctor preflight``."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from kddoctor.cli.exits import EXIT
from kddoctor.files import write_whole


def preflight(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_DIR_OR_YAML", help="A directory with kd_run.yaml, or such a file.", show_default=False
        ),
    ],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the checks as JSON, too.")] = None,
    examples: Annotated[int, typer.Option(min=1, help="Rows of each split to look at.")] = 512,
    seconds: Annotated[float, typer.Option(min=1.0, help="About how long it may take.")] = 60.0,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever was found.")] = False,
) -> None:
    """Check models, data and loss before training. Imports, and so runs, what kd_run.yaml names in its code section."""
    from kddoctor.preflight_checks.from_manifest import manifest_at, preflight_of
    from kddoctor.preflight_checks.table import show_preflight

    root, manifest, warnings = manifest_at(path)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    # What the imported code prints is no result of kddoctor's.
    with redirect_stdout(sys.stderr):
        found = preflight_of(root, manifest, examples=examples, seconds=seconds)
    if json_file is not None:
        write_whole(json_file, found.to_json())
    show_preflight(found, str(path))
    raise typer.Exit(0 if exit_zero else EXIT[found.verdict])
