"""The how-to for PyTorch loops works as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from kddoctor.engine import diagnose
from kddoctor.run import load
from tests.run.distillation import Distillation

PAGE = Path(__file__).parents[2] / "docs" / "record-pytorch.md"


def code_block() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_how_to_records_a_run_that_can_be_diagnosed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    distillation = Distillation()

    def kd_loss(s: Any, t: Any, labels: Any) -> Any:
        return distillation.terms(s, t, labels)[0]

    names = {
        "torch": torch,
        "teacher": distillation.teacher,
        "student": distillation.student,
        "optimizer": distillation.optimizer,
        "train_loader": distillation.loader,
        "val_loader": distillation.val,
        "kd_loss": kd_loss,
    }
    exec(code_block(), names)
    run = load(tmp_path / "runs" / "first")
    assert run.steps is not None
    assert run.steps.count >= 4
    assert diagnose(run).verdict in ("healthy", "sick", "inconclusive")


def test_the_how_to_is_ten_lines() -> None:
    lines = [line for line in code_block().splitlines() if line.strip() and not line.startswith("import")]
    assert len(lines) <= 10
