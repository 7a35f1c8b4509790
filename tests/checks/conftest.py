"""Runs that are recorded once for all tests of this folder; read only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from kddoctor.checks.results import CheckResult
from kddoctor.checks.running import check_run
from kddoctor.policy import Policy
from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses

TODAY = date(2026, 1, 15)
Checked = Callable[..., dict[str, CheckResult]]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """healthy; sick of its loss, twice; masking, whose cause (KD106) explains another finding (KD502); thin."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "healthy": recorded_run(folder / "healthy"),
        "sick": recorded_run(folder / "sick", kd=losses.kl(reduction="mean", scale="1")),
        "masking": recorded_run(
            folder / "masking", in_loop=b.shifted(1), student=b.forgetting(0.6), metrics=b.rising_curve(0.4)
        ),
        "thin": recorded_run(folder / "thin", steps=0, metrics=[]),
    }


@pytest.fixture(scope="session")
def checked(runs: dict[str, Path]) -> Checked:
    """``checked("sick", Policy(…))``: the checks of a run by their codes."""

    known: dict[str, dict[str, CheckResult]] = {}

    def check(name: str, policy: Policy | None = None) -> dict[str, CheckResult]:
        key = f"{name} {policy}"
        if key not in known:
            checks = check_run(runs[name], policy or Policy(), today=TODAY)
            known[key] = {result.code: result for result in checks.results}
        return known[key]

    return check
