"""``kddoctor diagnose``."""

import os
import sys
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kddoctor.cli.arguments import Config, RunDir, codes_in, policy_of
from kddoctor.cli.exits import EXIT, reader_may_leave
from kddoctor.cli.opened import opened
from kddoctor.errors import UsageError
from kddoctor.files import write_all

if TYPE_CHECKING:
    from kddoctor.engine import Diagnosis


class Format(StrEnum):
    """What stdout carries."""

    text = "text"
    json = "json"
    github = "github"


def diagnose(
    context: typer.Context,
    run_dir: RunDir,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the diagnosis as JSON, too.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a report for the browser, too.")] = None,
    before: Annotated[
        Path | None, typer.Option(metavar="RUN_DIR", help="With --html: compare with this run, row by row.")
    ] = None,
    md_file: Annotated[Path | None, typer.Option("--md", help="Write it as Markdown, too.")] = None,
    sarif_file: Annotated[Path | None, typer.Option("--sarif", help="Write it as SARIF, too.")] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write it as JUnit XML, too.")] = None,
    output_format: Annotated[
        Format | None,
        typer.Option("--format", help="What stdout carries: text, or github in GitHub Actions.", show_default=False),
    ] = None,
    select: Annotated[str | None, typer.Option(help="Only these codes (prefixes, comma-separated).")] = None,
    ignore: Annotated[str | None, typer.Option(help="Not these codes.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Import the run's own loss, and X-ray it on stderr.")] = False,
    config: Config = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever the verdict.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything that was looked at.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="One line.")] = False,
) -> None:
    """Name the cause of a failed distillation, with the evidence for and against it.

    RUN_DIR may be the files of another tool, as kddoctor import takes them.
    """
    chosen, ignored = codes_in(select), codes_in(ignore)
    asked = {"json": json_file, "html": html_file, "md": md_file, "sarif": sarif_file, "junit": junit_file}
    files = _asked(asked)
    if before is not None and html_file is None:
        raise UsageError("--before compares in the report; give --html as well")
    from kddoctor.engine import diagnose as judge
    from kddoctor.engine.measuring import measure
    from kddoctor.policy.applying import run_under
    from kddoctor.rules.registry import all_rules
    from kddoctor.run import load

    policy = policy_of(config)
    run = context.with_resource(opened(run_dir))
    for warning in run.warnings:
        typer.echo(f"warning: {warning}", err=True)
    skipped = {code for code in all_rules() if code.startswith(tuple(ignored))} if ignored else None
    measured = measure(run_under(policy, run))
    diagnosis = judge(run, select=chosen or None, ignore=skipped, policy=policy, measured=measured)
    for cause in diagnosis.causes:
        accepted = policy.acceptance(cause.code, run.name, date.today())
        if accepted is not None:
            typer.echo(f"{policy.source}: {accepted} (kddoctor check lets it pass)", err=True)
    if files:
        from kddoctor.report.formats import RENDERERS, Subject

        subject = Subject(diagnosis, run, measured, None if before is None else load(before))
        write_all({path: RENDERERS[option](subject) for option, path in files.items()})
    stdout = output_format or (Format.github if os.environ.get("GITHUB_ACTIONS") == "true" else Format.text)
    if stdout is Format.json:
        sys.stdout.write(diagnosis.to_json())
    elif stdout is Format.github:
        from kddoctor.cli.github_actions import show_in_workflow

        show_in_workflow(diagnosis, run, lambda: _show(diagnosis, run_dir, verbose=verbose, quiet=quiet))
    else:
        _show(diagnosis, run_dir, verbose=verbose, quiet=quiet)
    if live:
        from kddoctor.treatment.live import xray_of_run

        sys.stdout.flush()
        typer.echo(xray_of_run(run), err=True)
    raise typer.Exit(0 if exit_zero else EXIT[diagnosis.verdict])


def _asked(files: Mapping[str, Path | None]) -> dict[str, Path]:
    """The files that were asked for, by option. Raises UsageError where two options name the same."""
    asked: dict[str, Path] = {}
    for option, path in files.items():
        if path is None:
            continue
        for other, known in asked.items():
            if known.resolve() == path.resolve():
                raise UsageError(f"--{other} and --{option} both write {path}; give each a file of its own")
        asked[option] = path
    return asked


def _show(diagnosis: "Diagnosis", run_dir: Path, *, verbose: bool, quiet: bool) -> None:
    if quiet:
        causes = ",".join(diagnosis.cause_codes) or "-"
        typer.echo(f"{diagnosis.verdict}\t{causes}\t{diagnosis.summary}")
    else:
        from kddoctor.report.terminal import show_diagnosis

        with reader_may_leave():
            show_diagnosis(diagnosis, str(run_dir), verbose=verbose)
