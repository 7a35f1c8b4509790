"""Settings and runs for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.builders import recorded_run
from tests.cli.running import Command
from tests.forensics import losses


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    # The tensors are tiny: threads that wait for one another take longer than the work.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kddoctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """``kddoctor("diagnose", run)``: code, out and err."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
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
