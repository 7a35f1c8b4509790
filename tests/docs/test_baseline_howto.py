"""docs/baseline.md, run as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from kddoctor.run import load
from tests.cli.running import Command
from tests.docs.blocks import commands
from tests.treatment.recorded import sick_run


def test_its_commands_add_both_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sick_run(tmp_path / "runs" / "x", epochs=2)
    monkeypatch.chdir(tmp_path)
    kddoctor = Command(capsys, monkeypatch)
    answers = [kddoctor(*command) for command in commands("baseline.md")]
    assert [answer.code in (0, 1) for answer in answers] == [True, True, True]
    assert "labels only" in answers[1].out
    part = load("runs/x").predictions("val")
    assert part is not None
    assert part.baseline_logits is not None
    assert part.teacher_twin_logits is not None
