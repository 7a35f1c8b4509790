"""A teacher whose weights lie elsewhere between its calls, as accelerate lays them, is recorded like any other."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kddoctor
from kddoctor.run import load
from kddoctor.run.recorder import RecorderWarning
from tests.run.distillation import Distillation
from tests.run.test_recorder import assert_same

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed: pip install kddoctor[integrations]")

pytestmark = pytest.mark.integrations


def in_main_memory(teacher: Any, folder: Path) -> None:
    accelerate.cpu_offload(teacher, torch.device("cpu"))


def on_disk(teacher: Any, folder: Path) -> None:
    accelerate.disk_offload(teacher, str(folder), torch.device("cpu"))


def trained(where: Any, folder: Path, run_dir: Path | None) -> tuple[list[Any], Distillation]:
    distillation = Distillation()
    where(distillation.teacher, folder)
    assert {p.device.type for p in distillation.teacher.parameters()} == {"meta"}
    if run_dir is None:
        distillation.train_for(2)
    else:
        with distillation.record(run_dir) as run:
            distillation.train_for(2, run)
    return [value.clone() for value in distillation.student.state_dict().values()], distillation


@pytest.mark.parametrize("where", [in_main_memory, on_disk])
def test_an_offloaded_teacher_is_recorded(tmp_path: Path, where: Any) -> None:
    plain, _ = trained(where, tmp_path / "plain", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecorderWarning)
        watched, distillation = trained(where, tmp_path / "watched", tmp_path / "run")
    assert_same(watched, plain)
    run = load(tmp_path / "run")
    val = run.predictions("val")
    assert val is not None
    assert val.teacher_logits is not None
    with torch.no_grad():
        expected = Distillation().teacher(distillation.val.tensors[0])
    np.testing.assert_allclose(val.teacher_logits.read(), expected.numpy(), atol=1e-6)
    assert run.steps is not None
    assert run.steps.teacher_logits_check is not None
    assert run.features("val") is not None
    assert run.observations.teacher_training is False
    assert run.observations.teacher_drift is None, "its weights were not there to be compared"
    assert kddoctor.diagnose(run).verdict != "inconclusive"
