"""A student and a teacher that torch.compile made machine code of are watched, and train as without a recorder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kddoctor.run import load
from tests.run.distillation import Distillation
from tests.run.test_loops import saying
from tests.run.test_recorder import assert_same

pytestmark = [
    pytest.mark.integrations,
    pytest.mark.skipif(
        shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler: g++, or CXX"
    ),
]
LOOPS = {"nothing said": saying(), "the loss before backward": saying("loss", after=False)}


@pytest.fixture(scope="module", autouse=True)
def compiled_code_goes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("inductor")
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        yield
        assert list(folder.rglob("*.so")), "the models ran as machine code"
    torch._dynamo.reset()


def trained(name: str, run_dir: Path | None) -> tuple[list[torch.Tensor], Any]:
    """Weights, and what the next random numbers are, after two epochs."""
    # Code that an earlier training left knows that batches differ in size, and rounds differently than fresh code does.
    torch._dynamo.reset()
    distillation = Distillation()
    inner = distillation.student
    distillation.student = torch.compile(inner, backend="inductor")  # type: ignore[assignment]
    distillation.teacher = torch.compile(distillation.teacher, backend="inductor")  # type: ignore[assignment]
    if run_dir is None:
        for _ in range(2):
            LOOPS[name](distillation, None)
    else:
        with distillation.record(run_dir) as run:
            for _ in range(2):
                LOOPS[name](distillation, run)
    return [value.clone() for value in inner.state_dict().values()] + [torch.get_rng_state()], distillation


@pytest.mark.parametrize("name", LOOPS)
def test_compiled_models_train_to_the_same_bits_and_are_recorded(tmp_path: Path, name: str) -> None:
    plain, _ = trained(name, None)
    watched, distillation = trained(name, tmp_path / "run")
    assert_same(watched, plain)
    run = load(tmp_path / "run")
    steps = run.steps
    assert steps is not None
    assert steps.count >= 8
    for k in range(steps.count):
        arrays = (steps.student_logits[k], steps.teacher_logits[k], steps.labels[k])
        loss, _, _ = distillation.terms(*map(torch.from_numpy, arrays))
        assert steps.loss[k] == pytest.approx(float(loss), rel=1e-5)
    again = steps.teacher_logits_check
    assert again is not None
    checked = np.isfinite(again.read()).all((1, 2))
    assert checked.any()
    np.testing.assert_allclose(again.read()[checked], steps.teacher_logits.read()[checked], atol=1e-5)
    assert run.observations.parameters_without_gradient == []
