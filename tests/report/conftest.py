"""One measured and judged run of every kind; read only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.running import Command
from tests.report.runs import KINDS, Subject, hostile, misaligned, subject, treated


@pytest.fixture
def kddoctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """``kddoctor("diagnose", run)``: code, out and err."""
    return Command(capsys, monkeypatch)


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """``subjects("tokens")``."""
    makers = {**KINDS, "sick": misaligned, "treated": treated, "hostile": hostile}
    made: dict[str, Subject] = {}

    def of(kind: str) -> Subject:
        if kind not in made:
            made[kind] = subject(makers[kind](tmp_path_factory.mktemp("kinds") / "run"))
        return made[kind]

    return of
