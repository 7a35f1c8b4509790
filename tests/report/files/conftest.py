"""A run of each verdict with its diagnosis, and one whose every word is hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kddoctor import diagnose, load
from kddoctor.engine import Diagnosis
from kddoctor.run import Run
from tests.builders import recorded_run
from tests.forensics import losses

HOSTILE = (
    '<script>alert(1)</script> [x](http://evil.example) | `a` *b* @octocat #1 $x$ 100%,a:b "c" ]]> '
    "\x1b[31m\x00\ufffe\r\n::error::pwned"
)


class Case(NamedTuple):
    """A run and what was said of it."""

    diagnosis: Diagnosis
    run: Run


def case(path: Path, **changes: Any) -> Case:
    run = load(recorded_run(path, **changes))
    return Case(diagnose(run), run)


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """One of each verdict, and ``alpha``: a run whose cause is a key of kd_run.yaml."""
    folder = tmp_path_factory.mktemp("cases")
    return {
        "healthy": case(folder / "healthy"),
        "sick": case(folder / "sick", kd=losses.kl(reduction="mean", scale="1")),
        "inconclusive": case(folder / "inconclusive", steps=0, metrics=[]),
        "alpha": case(folder / "alpha", mix=(0.9, 0.1)),
    }


@pytest.fixture(scope="session")
def hostile(cases: dict[str, Case]) -> Case:
    """The sick run with hostile text wherever a record's own names could get to."""
    diagnosis = cases["sick"].diagnosis
    findings = [
        finding.model_copy(
            update={
                "title": HOSTILE,
                "summary": HOSTILE,
                "where": HOSTILE,
                "against": (HOSTILE,),
                "evidence": tuple(e.model_copy(update={"text": HOSTILE}) for e in finding.evidence),
            }
        )
        for finding in diagnosis.findings
    ]
    spoilt = {"run": HOSTILE, "summary": HOSTILE, "findings": tuple(findings), "warnings": (HOSTILE,)}
    return Case(diagnosis.model_copy(update=spoilt), cases["sick"].run)
