"""Settings and runs for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import recorded_run
from tests.cli.running import ENVIRONMENT, Command
from tests.forensics import losses


@pytest.fixture
def kddoctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """``kddoctor("diagnose", run)``: code, out and err."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return Command(capsys, monkeypatch)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run directory for each verdict; read only."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "healthy": recorded_run(folder / "healthy"),
        "sick": recorded_run(folder / "sick", kd=losses.kl(reduction="mean", scale="1")),
        "inconclusive": recorded_run(folder / "inconclusive", steps=0, metrics=[]),
    }
