"""Judging built runs and single findings."""

from __future__ import annotations

from pathlib import Path

from kddoctor.engine import Diagnosis, diagnose
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.run import load
from tests.builders import recorded_run


def diagnosed(path: Path, **changes: object) -> Diagnosis:
    """The diagnosis of a run that is healthy but for these changes."""
    return diagnose(load(recorded_run(path / "run", **changes)))  # type: ignore[arg-type]


def strongest(found: Finding | NotExamined) -> Grade:
    """The best grade that supports a finding."""
    assert isinstance(found, Finding)
    return max(item.grade for item in found.supporting)
