"""``kddoctor diagnose``."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kddoctor.cli.arguments import RunDir, codes_in
from kddoctor.cli.exits import EXIT
from kddoctor.cli.files import write_whole
from kddoctor.errors import UsageError


class Format(StrEnum):
    """What stdout carries."""

    text = "text"
    json = "json"


def diagnose(
    run_dir: RunDir,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the diagnosis as JSON, too.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a report for the browser, too.")] = None,
    before: Annotated[
        Path | None, typer.Option(metavar="RUN_DIR", help="With --html: compare with this run, row by row.")
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", help="What stdout carries.")] = Format.text,
    select: Annotated[str | None, typer.Option(help="Only these codes (prefixes, comma-separated).")] = None,
    ignore: Annotated[str | None, typer.Option(help="Not these codes.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Import the run's own loss, and X-ray it on stderr.")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever the verdict.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything that was looked at.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="One line.")] = False,
) -> None:
    """Name the cause of a failed distillation, with the evidence for and against it."""
    if before is not None and html_file is None:
        raise UsageError("--before compares in the report; give --html as well")
    chosen, ignored = codes_in(select), codes_in(ignore)
    from kddoctor.engine import diagnose as judge
    from kddoctor.engine.measuring import measure
    from kddoctor.rules.registry import all_rules
    from kddoctor.run import load

    run = load(run_dir)
    for warning in run.warnings:
        typer.echo(f"warning: {warning}", err=True)
    skipped = {code for code in all_rules() if code.startswith(tuple(ignored))} if ignored else set()
    measured = measure(run)
    diagnosis = judge(run, select=chosen, ignore=skipped, measured=measured)
    if json_file is not None:
        write_whole(json_file, diagnosis.to_json())
    if html_file is not None:
        # matplotlib and pandas are slow to load.
        from kddoctor.report.html import render_html

        earlier = None if before is None else load(before)
        write_whole(html_file, render_html(diagnosis, run, measured=measured, before=earlier))
    if output_format is Format.json:
        sys.stdout.write(diagnosis.to_json())
    elif quiet:
        causes = ",".join(diagnosis.cause_codes) or "-"
        typer.echo(f"{diagnosis.verdict}\t{causes}\t{diagnosis.summary}")
    else:
        from kddoctor.report.terminal import show_diagnosis

        show_diagnosis(diagnosis, str(run_dir), verbose=verbose)
    if live:
        from kddoctor.treatment.live import xray_of_run

        sys.stdout.flush()
        typer.echo(xray_of_run(run), err=True)
    raise typer.Exit(0 if exit_zero else EXIT[diagnosis.verdict])
