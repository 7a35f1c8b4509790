"""``kddoctor diagnose``."""

import sys
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kddoctor.cli.arguments import Config, RunDir, codes_in, policy_of
from kddoctor.cli.exits import EXIT, reader_may_leave
from kddoctor.cli.files import write_whole


class Format(StrEnum):
    """What stdout carries."""

    text = "text"
    json = "json"


def diagnose(
    run_dir: RunDir,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the diagnosis as JSON, too.")] = None,
    output_format: Annotated[Format, typer.Option("--format", help="What stdout carries.")] = Format.text,
    select: Annotated[str | None, typer.Option(help="Only these codes (prefixes, comma-separated).")] = None,
    ignore: Annotated[str | None, typer.Option(help="Not these codes.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Import the run's own loss, and X-ray it on stderr.")] = False,
    config: Config = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever the verdict.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything that was looked at.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="One line.")] = False,
) -> None:
    """Name the cause of a failed distillation, with the evidence for and against it."""
    chosen, ignored = codes_in(select), codes_in(ignore)
    from kddoctor.engine import diagnose as judge
    from kddoctor.rules.registry import all_rules
    from kddoctor.run import load

    policy = policy_of(config)
    run = load(run_dir)
    for warning in run.warnings:
        typer.echo(f"warning: {warning}", err=True)
    skipped = {code for code in all_rules() if code.startswith(tuple(ignored))} if ignored else None
    diagnosis = judge(run, select=chosen or None, ignore=skipped, policy=policy)
    for cause in diagnosis.causes:
        accepted = policy.acceptance(cause.code, run.name, date.today())
        if accepted is not None:
            typer.echo(f"{policy.source}: {accepted} (kddoctor check lets it pass)", err=True)
    if json_file is not None:
        write_whole(json_file, diagnosis.to_json())
    if output_format is Format.json:
        sys.stdout.write(diagnosis.to_json())
    elif quiet:
        causes = ",".join(diagnosis.cause_codes) or "-"
        typer.echo(f"{diagnosis.verdict}\t{causes}\t{diagnosis.summary}")
    else:
        from kddoctor.report.terminal import show_diagnosis

        with reader_may_leave():
            show_diagnosis(diagnosis, str(run_dir), verbose=verbose)
    if live:
        from kddoctor.treatment.live import xray_of_run

        sys.stdout.flush()
        typer.echo(xray_of_run(run), err=True)
    raise typer.Exit(0 if exit_zero else EXIT[diagnosis.verdict])
