"""``kddoctor app``."""

from pathlib import Path
from typing import Annotated

import typer


def app(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR…", help="Recorded runs.", show_default=False)],
    page: Annotated[str, typer.Option(help="Which page to open.")] = "verdict",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; the first free one from 8501 on.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Look into runs in the browser: pictures, examples, comparison, treatment. Served on this machine alone."""
    from kddoctor.app.launching import address, free_port, serve
    from kddoctor.run import load

    for run in runs:
        for warning in load(run).warnings:
            typer.echo(f"warning: {warning}", err=True)
    url = address(free := free_port(port), page)

    def announce() -> None:
        typer.echo(f"kddoctor app: {url}   (Ctrl-C ends it)")

    serve(runs, free, opened=url if browser else None, announce=announce)
