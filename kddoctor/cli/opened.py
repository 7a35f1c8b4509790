"""The run that a command is about: a run directory, or another tool's files, imported while the command runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kddoctor.run import Run


@contextmanager
def opened(path: Path) -> Iterator["Run"]:
    """The run at a path; what an import of another tool's files found goes to stderr."""
    from kddoctor.importers import run_from

    with run_from(path) as (run, imported):
        if imported is not None:
            from kddoctor.report.imported import show_import
            from kddoctor.report.terminal import console

            show_import(imported, run, str(path), console(sys.stderr))
        yield run
