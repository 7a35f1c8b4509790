"""The command line: one file a command, which parses, calls the API and prints. Heavy imports happen inside them."""

from typing import Annotated

import typer

from kddoctor.cli.bench import bench
from kddoctor.cli.check import PytestExits, check
from kddoctor.cli.demo import demo
from kddoctor.cli.diagnose import diagnose
from kddoctor.cli.exits import guarded
from kddoctor.cli.explain import explain
from kddoctor.cli.treat import treat

app = typer.Typer(
    help="Finds out why a knowledge distillation failed, proves it, and retrains a corrected student.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 healthy, 1 sick, 2 bad input or usage, 3 cannot tell, 4 kddoctor failed, 130 interrupted.",
)

# In the order in which they are met.
for command in (diagnose, treat, explain, demo, bench):
    app.command()(command)
app.command(cls=PytestExits)(check)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from kddoctor import __version__

        typer.echo(f"kddoctor {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: every failure becomes one line and an exit code."""
    raise SystemExit(guarded(lambda: app(standalone_mode=False)))
