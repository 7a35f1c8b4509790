"""All checks of one run directory: what ``kddoctor check`` and the pytest plugin both call."""

from collections.abc import Sequence
from pathlib import Path

from kddoctor.checks.examining import examine
from kddoctor.checks.judging import checks_of
from kddoctor.checks.results import RunChecks
from kddoctor.run.directory import load


def check_run(
    path: Path, *, select: Sequence[str] = (), ignore: Sequence[str] = (), require: Sequence[str] = ()
) -> RunChecks:
    """Load, diagnose and judge. select, ignore, require: codes or prefixes.

    Raises RunError, in one line, for a directory that cannot be read.
    """
    examined = examine(load(path), select=select, ignore=ignore)
    diagnosis = examined.diagnosis
    return RunChecks(diagnosis.run, diagnosis.to_json(), checks_of(examined, require=require))
