"""What a diagnosis prints inside GitHub Actions: the text, annotations, and the job's summary."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from kddoctor.engine import Diagnosis
from kddoctor.report.github import commands_off, render_github
from kddoctor.report.markdown import render_markdown
from kddoctor.run import Run


def show_in_workflow(diagnosis: Diagnosis, run: Run, show_text: Callable[[], None]) -> None:
    """Print the text, in which no name is taken for a command, then annotations; add the report to the summary."""
    with commands_off(diagnosis, sys.stdout):
        show_text()
    sys.stdout.write(render_github(diagnosis, run))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(render_markdown(diagnosis, run) + "\n")
        except OSError as error:
            # The diagnosis is made and printed; a runner without a summary is no reason to lose its exit code.
            typer.echo(f"warning: GITHUB_STEP_SUMMARY: {summary}: {error.strerror or error}", err=True)
