"""Several processes that train one student together do as one process would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from kddoctor.run import Run, load
from kddoctor.treatment.code_loading import LoadedCode, loaded_code
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.ray_engine.ranks import Ranks
from kddoctor.treatment.retrain import retrain
from kddoctor.treatment.schedule import recorded_shape, schedule_of
from kddoctor.treatment.session import begin, planned_teacher
from kddoctor.treatment.treat import plan_treatment
from tests.treatment.recorded import CODE, REFERENCES, sick_run

#: Without layers that look at a whole batch or draw at random, and with one that is never used.
PLAIN = (
    (CODE.replace("nn.BatchNorm1d(3)", "nn.Identity()").replace("nn.Dropout(0.1)", "nn.Identity()"))
    + """

class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
        self.unused = nn.Linear(2, 2)

    def forward(self, inputs):
        return self.layers(inputs)


def make_student():
    return Student()


def make_assistant():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4))
"""
)
EPOCHS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    references = {**REFERENCES, "assistant": "blobs:make_assistant"}
    return load(sick_run(tmp_path_factory.mktemp("ranks") / "run", code=references, source=PLAIN))


def plans(run: Run) -> dict[str, Plan]:
    plain = plan_treatment(run, epochs=EPOCHS)
    training = plain.manifest.training.model_copy(update={"batch_size": 15})  # parts of 7 and 8 rows
    plain = replace(plain, manifest=plain.manifest.model_copy(update={"training": training}))
    return {
        "plain": plain,
        "clipped": replace(plain, loop=replace(plain.loop, clip_gradients=0.1)),
        "hints": replace(plain, loop=replace(plain.loop, hints=(("1", "layers.1"),))),
        "assistant": replace(plain, loop=replace(plain.loop, assistant=True)),
    }


def quiet(_epoch: int, _epochs: int, _accuracy: float) -> None:
    return None


def one_of_two(rank: int, path: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    run = load(path)
    for name, plan in plans(run).items():
        with loaded_code(run) as code:
            retrain(run, plan, code, folder / name, folder / f"work-{name}", progress=quiet, team=Ranks())
        if name == "hints":
            with loaded_code(run) as code:
                check_that_all_have_the_same(run, plan, code)
    dist.barrier()  # the first to leave would cut the others off
    dist.destroy_process_group()


def check_that_all_have_the_same(run: Run, plan: Plan, code: LoadedCode) -> None:
    """Student and projectors, after an epoch."""
    with planned_teacher(code.teacher, plan) as teacher:
        session = begin(plan, code, schedule_of(plan.manifest.training), recorded_shape(run), teacher, Ranks())
        session.train_epoch(0)
        session.close()
    assert session.hinting is not None
    for parameter in [*session.student.parameters(), *session.hinting.parameters()]:
        both = [torch.empty_like(parameter) for _ in range(2)]
        dist.all_gather(both, parameter.detach())
        assert torch.equal(*both)


@pytest.fixture(scope="module")
def two(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs by two processes, a directory each."""
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(one_of_two, (run.path, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("name", ["plain", "clipped", "hints", "assistant"])
def test_two_processes_train_the_student_of_one(run, two, tmp_path, name):
    with loaded_code(run) as code:
        retrain(run, plans(run)[name], code, tmp_path / "one", tmp_path / "work", progress=quiet)
    one, both = (load_file(path / "checkpoints" / "student.safetensors") for path in (tmp_path / "one", two / name))
    # Hints are divided by the size of the teacher's features in their part of the batch.
    close = {"atol": 2e-2, "rtol": 0.0} if name == "hints" else {"atol": 1e-4, "rtol": 1e-3}
    for key, value in one.items():
        torch.testing.assert_close(both[key], value, **close)


def test_the_record_is_one_that_is_healthy(two):
    import kddoctor

    treated = load(two / "plain")
    assert kddoctor.diagnose(treated).cause_codes == []
    assert treated.steps is not None
    assert treated.steps.loss.shape[0] > 0


class TestParts:
    @pytest.fixture
    def ranks(self, monkeypatch: pytest.MonkeyPatch) -> list[Ranks]:
        made = []
        for rank in range(3):
            monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
            monkeypatch.setattr(dist, "get_world_size", lambda: 3)
            made.append(Ranks())
        return made

    def test_every_row_is_in_one_part_and_weights_make_a_mean_over_rows(self, ranks):
        inputs: dict[str, Any] = {"x": torch.arange(11.0), "scale": torch.tensor(2.0), "pair": (torch.arange(11), "k")}
        parts = [rank.part(inputs, torch.arange(11)) for rank in ranks]
        assert torch.equal(torch.cat([labels for _, labels, _ in parts]), torch.arange(11))
        assert torch.equal(torch.cat([found["x"] for found, _, _ in parts]), inputs["x"])
        assert torch.equal(torch.cat([found["pair"][0] for found, _, _ in parts]), torch.arange(11))
        assert all(torch.equal(found["scale"], inputs["scale"]) for found, _, _ in parts)
        means = [float(labels.float().mean()) * weight for _, labels, weight in parts]
        assert sum(means) / 3 == pytest.approx(5.0)

    def test_a_batch_that_is_too_small_is_everybodys(self, ranks):
        parts = [rank.part(torch.arange(5), torch.arange(5)) for rank in ranks]
        assert all(len(labels) == 5 and weight == 1.0 for _, labels, weight in parts)
