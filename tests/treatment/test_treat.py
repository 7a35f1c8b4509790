"""A treatment retrains from the run's own code, cures it, and can be interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import kddoctor
from kddoctor.errors import RunError, UsageError
from kddoctor.run import load
from kddoctor.treatment.checkpoint import claimed
from kddoctor.treatment.code_loading import loaded_code
from kddoctor.treatment.rate_probe import STEPS, fitting_rate
from kddoctor.treatment.remedies import PROBES
from kddoctor.treatment.schedule import Schedule, constant, falling, recorded_shape
from kddoctor.treatment.session import Session
from kddoctor.treatment.treat import plan_treatment, treat
from kddoctor.treatment.work_directory import checkpoint_directory
from tests.treatment.recorded import CODE, EPOCHS, REFERENCES, sick_run
from tests.treatment.test_prescription import T_SQUARED, diagnosis

COLUMNS = [2, 0, 3, 1]


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sick_run(tmp_path_factory.mktemp("sick") / "run")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "checkpoints" / "student.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_treated_run_is_an_ordinary_healthy_one(sick, tmp_path):
    assert kddoctor.diagnose(load(sick)).cause_codes == ["KD202"]
    result = treat(load(sick), tmp_path / "out", quiet=True)
    treated = load(tmp_path / "out")
    assert kddoctor.diagnose(treated).cause_codes == []
    assert (result.code, result.causes_after, result.epochs, result.seed) == ("KD202", (), EPOCHS, 0)
    assert treated.manifest.training.momentum == 0.5
    assert not checkpoint_directory(tmp_path / "out").exists()
    # The sick run is untouched, and the treated one can be treated again.
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [*(p.name for p in sick.iterdir()), "prescription.yaml", "treatment.json"]
    )


def test_treatment_json_says_what_was_measured(sick, tmp_path):
    result = treat(load(sick), tmp_path / "out", quiet=True)
    told = json.loads((tmp_path / "out" / "treatment.json").read_text(encoding="utf-8"))
    assert told == result.model_dump(mode="json")
    before, after = kddoctor.diagnose(load(sick)), kddoctor.diagnose(load(tmp_path / "out"))
    assert (told["before"], told["after"], told["teacher"]) == (
        before.gap.student,
        after.gap.student,
        after.gap.teacher,
    )
    assert told["changes"] == {"distillation.temperature_squared": True}
    if told["share_closed"] is not None:
        gap = told["teacher"] - told["before"]
        assert told["share_closed"] == pytest.approx((told["after"] - told["before"]) / gap, rel=1e-4)


def test_the_same_run_gives_the_same_student(sick, tmp_path):
    for name in ("one", "two"):
        treat(load(sick), tmp_path / name, quiet=True)
    assert same(tmp_path / "one", tmp_path / "two")


def test_the_learning_rate_takes_the_recorded_course(sick, tmp_path):
    shape = recorded_shape(load(sick))
    assert shape(0.0) == pytest.approx(1.0)
    assert shape(1.0) == pytest.approx((1 + np.cos(np.pi * (EPOCHS - 1) / EPOCHS)) / 2, abs=1e-6)
    treat(load(sick), tmp_path / "out", quiet=True)
    again = recorded_shape(load(tmp_path / "out"))
    for done in (0.0, 0.3, 0.7, 1.0):
        assert again(done) == pytest.approx(shape(done), abs=0.02)


def test_a_run_without_recorded_rates_keeps_its_rate(sick):
    bare = shutil.copytree(sick, sick.parent / "bare")
    (bare / "metrics.jsonl").unlink()
    shape = recorded_shape(load(bare))
    assert {shape(done) for done in (0.0, 0.5, 1.0)} == {1.0}


@pytest.mark.parametrize(
    ("rates", "followed"),
    [
        ([0.1, 0.1, 0.1, 0.05, 0.0], True),
        ([0.02, 0.06, 0.1, 0.1, 0.1], True),
        ([0.004, 0.1, 0.1, 0.05, 0.0], True),
        ([0.1, 0.05, 0.0, 0.0, 0.0], False),  # spent in half of the run
        ([0.1, 0.2, 0.3, 0.4, 0.5], False),  # above the declared rate, and rising to the end
    ],
)
def test_a_course_that_no_schedule_is_meant_to_take_is_not_followed(sick, tmp_path, rates, followed):
    run = shutil.copytree(sick, tmp_path / "run")
    rows = [json.dumps({"step": step, "lr": rate}) for step, rate in enumerate(rates)]
    (run / "metrics.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert (recorded_shape(load(run)) is not falling) == followed


def test_a_teacher_in_another_order_is_put_back(tmp_path):
    run = sick_run(tmp_path / "run", columns=COLUMNS, t_squared=True)
    result = treat(load(run), tmp_path / "out", quiet=True)
    assert result.code == "KD105"
    assert result.before < 0.5
    assert min(result.teacher, result.after) > 0.8
    assert result.causes_after == ()


def test_a_teacher_that_only_the_loop_reorders_is_left_alone(tmp_path):
    run = sick_run(tmp_path / "run", columns=COLUMNS, in_loop_only=True, t_squared=True)
    result = treat(load(run), tmp_path / "out", quiet=True)
    assert result.code == "KD105"
    assert result.changes == {"treatment.pairing": "online"}
    assert result.after > 0.8


def test_a_wrapper_that_reorders_a_sound_teacher_goes_with_the_loop(tmp_path):
    """The record shows a teacher in another order, and the checkpoint holds one in the right order."""
    run = sick_run(tmp_path / "run", columns=COLUMNS, wrapped=True, t_squared=True)
    result = treat(load(run), tmp_path / "out", quiet=True)
    assert result.code == "KD105"
    assert result.before < 0.5
    assert min(result.teacher, result.after) > 0.8


def test_a_teacher_that_learned_along_teaches_as_it_was_before(tmp_path):
    run = load(sick_run(tmp_path / "run", teacher_learns=True, t_squared=True))
    result = treat(run, tmp_path / "out", diagnosis=diagnosis(T_SQUARED), quiet=True)
    assert min(result.teacher, result.after) > 0.8
    with loaded_code(run) as code:
        weights = code.teacher.state_dict()
    assert torch.equal(weights["0.weight"], load_file(run.checkpoint("teacher_before"))["0.weight"])


def test_a_teacher_that_was_meant_to_learn_teaches_as_it_is(tmp_path):
    run = sick_run(tmp_path / "run", teacher_learns=True, t_squared=True)
    files = [run / "checkpoints" / f"{name}.safetensors" for name in ("teacher", "teacher_before")]
    texts = [file.read_bytes() for file in files]
    for file, text in zip(files, reversed(texts), strict=True):
        file.write_bytes(text)
    with loaded_code(load(run)) as code:
        weights = code.teacher.state_dict()
    assert torch.equal(weights["0.weight"], load_file(files[0])["0.weight"])


def test_a_dry_run_changes_nothing(sick, tmp_path):
    plan = plan_treatment(load(sick), epochs=3)
    assert (plan.code, plan.manifest.training.epochs) == ("KD202", 3)
    assert "- training.epochs: 6" in plan.diff
    assert "+ training.epochs: 3" in plan.diff
    assert not any(tmp_path.iterdir())


class _StopError(Exception):
    pass


def _stop(*_arguments, **_options):
    raise _StopError


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    ran = Session.train_epoch

    def counted(session, epoch, *rest):
        if epoch == epochs:
            raise _StopError
        ran(session, epoch, *rest)

    monkeypatch.setattr(Session, "train_epoch", counted)


def test_an_interrupted_treatment_goes_on_bit_for_bit(sick, tmp_path, monkeypatch):
    treat(load(sick), tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(_StopError):
            treat(load(sick), tmp_path / "parts", quiet=True)
    assert not (tmp_path / "parts").exists()
    with pytest.raises(UsageError, match="add --resume"):
        treat(load(sick), tmp_path / "parts", quiet=True)
    treat(load(sick), tmp_path / "parts", resume=True, quiet=True)
    assert same(tmp_path / "whole", tmp_path / "parts")
    one, other = (load(tmp_path / name) for name in ("whole", "parts"))
    assert one.metrics == other.metrics
    np.testing.assert_array_equal(one.steps.loss, other.steps.loss)


def test_a_killed_treatment_goes_on_bit_for_bit(sick, tmp_path):
    treat(load(sick), tmp_path / "whole", epochs=40, quiet=True)
    command = [sys.executable, "-c", KILLED, str(sick), str(tmp_path / "parts")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(kddoctor.__file__).parents[1])})
    saved = checkpoint_directory(tmp_path / "parts") / "checkpoint.pt"
    for _ in range(600):
        if saved.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert not (tmp_path / "parts").exists()
    treat(load(sick), tmp_path / "parts", epochs=40, resume=True, quiet=True)
    assert same(tmp_path / "whole", tmp_path / "parts")


KILLED = """
import sys, time, torch
from kddoctor.run import load
from kddoctor.treatment.treat import treat
from kddoctor.treatment.session import Session
torch.set_num_threads(1)
score = Session.score
def slowly(session):
    time.sleep(0.2)
    return score(session)
Session.score = slowly
treat(load(sys.argv[1]), sys.argv[2], epochs=40, quiet=True)
"""


def test_a_treatment_that_was_killed_before_it_was_judged_is_finished(sick, tmp_path, monkeypatch):
    whole = treat(load(sick), tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr("kddoctor.treatment.treat.result_of", _stop)
        patch.setattr("kddoctor.treatment.checkpoint.discard", lambda _work: None)  # nothing tidies up after a kill
        with pytest.raises(_StopError):
            treat(load(sick), tmp_path / "parts", quiet=True)
    assert (tmp_path / "parts" / "kd_run.yaml").exists()
    assert treat(load(sick), tmp_path / "parts", resume=True, quiet=True) == whole
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_other_seeds_are_trained_and_measured(sick, tmp_path):
    result = treat(load(sick), tmp_path / "out", seeds=3, quiet=True)
    assert [other.seed for other in result.seeds] == [1, 2]
    assert len({result.after, *(other.after for other in result.seeds)}) > 1
    assert result.cost.trainings == 3
    assert result.cost.of_one == pytest.approx(3.0)
    alone = treat(load(sick), tmp_path / "alone", quiet=True)
    assert alone.after == result.after
    assert not checkpoint_directory(tmp_path / "out").exists()


def test_seeds_that_were_finished_before_an_interruption_are_not_trained_again(sick, tmp_path, monkeypatch):
    whole = treat(load(sick), tmp_path / "whole", seeds=2, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr("kddoctor.treatment.retrain.check_teacher", _stop)
        with pytest.raises(_StopError):
            treat(load(sick), tmp_path / "parts", seeds=2, quiet=True)
    with pytest.raises(UsageError, match="add --resume"):
        treat(load(sick), tmp_path / "parts", seeds=2, quiet=True)
    trained = []
    with monkeypatch.context() as patch:
        ran = Session.train_epoch
        patch.setattr(Session, "train_epoch", lambda s, *rest: (trained.append(s.schedule.seed), ran(s, *rest)))
        parts = treat(load(sick), tmp_path / "parts", seeds=2, resume=True, quiet=True)
    assert set(trained) == {0}
    assert parts == whole


def test_another_treatments_checkpoint_is_refused(sick, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(_StopError):
            treat(load(sick), tmp_path / "out", quiet=True)
    with pytest.raises(UsageError, match="belongs to another treatment"):
        treat(load(sick), tmp_path / "out", epochs=9, resume=True, quiet=True)
    (checkpoint_directory(tmp_path / "out") / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(UsageError, match="cannot be read"):
        treat(load(sick), tmp_path / "out", resume=True, quiet=True)


def test_a_checkpoint_of_other_code_is_refused(sick, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(sick, run)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(_StopError):
            treat(load(run), tmp_path / "out", quiet=True)
    other = CODE.replace("nn.BatchNorm1d(3)", "nn.Identity()")
    (run / "blobs.py").write_text(other, encoding="utf-8")
    with pytest.raises(UsageError, match="its student does not fit the run's code any more"):
        treat(load(run), tmp_path / "out", resume=True, quiet=True)


def test_two_processes_do_not_treat_into_one_output(sick, tmp_path):
    with claimed(tmp_path / "out", resume=False), pytest.raises(UsageError, match="another process is at a treatment"):
        treat(load(sick), tmp_path / "out", quiet=True)
    assert not checkpoint_directory(tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda d: (d / "out").symlink_to(d / "nowhere"), "already exists"),
        (lambda d: (d / "out").write_text("mine", "utf-8"), "already exists"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_training(sick, tmp_path, make, why):
    make(tmp_path)
    with pytest.raises(UsageError, match=why):
        treat(load(sick), tmp_path / "out", quiet=True)


def test_a_place_inside_the_run_or_under_a_file_is_no_output(sick, tmp_path):
    with pytest.raises(UsageError, match="lies in the run that is treated"):
        treat(load(sick), sick / "treated", quiet=True)
    (tmp_path / "file").write_text("mine", "utf-8")
    with pytest.raises(UsageError, match="cannot be"):
        treat(load(sick), tmp_path / "file" / "out", quiet=True)


def test_a_rate_that_cannot_be_is_passed_over(sick, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(sick, run)
    rows = [
        '{"step": 1, "lr": -1}',
        '{"step": Infinity, "lr": 0.1}',
        '{"step": 9, "lr": NaN}',
        '{"step": 5, "lr": 0.1}',
    ]
    (run / "metrics.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert recorded_shape(load(run)) is constant


def test_an_output_that_exists_is_not_touched(sick, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="already exists"):
        treat(load(sick), tmp_path / "out", quiet=True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_healthy_run_has_nothing_to_treat(tmp_path):
    run = sick_run(tmp_path / "run", t_squared=True)
    with pytest.raises(UsageError, match="nothing to treat: the run is healthy"):
        treat(load(run), tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


BROKEN = {
    "a module that is not there": ({"student": "nowhere:make"}, CODE, "code.student"),
    "a function that is not there": ({"student": "blobs:forgotten"}, CODE, "has no function forgotten"),
    "a function that raises": (
        {},
        CODE + "\n\ndef make_student():\n    raise OSError('no disk')\n",
        "OSError: no disk",
    ),
    "a function that returns no module": ({}, CODE + "\n\ndef make_student():\n    return 3\n", "returns a int"),
    "an import that raises": ({}, CODE + "\n\n1 / 0\n", "ZeroDivisionError"),
    "an import that ends the process": ({}, CODE + "\n\nraise SystemExit(0)\n", "SystemExit"),
    "a loss that is no scalar": (
        {"loss": "blobs:kd"},
        CODE + "\n\ndef kd(s, t, y):\n    return s - t\n",
        "code.loss is code that raises TypeError: the loss is no real scalar",
    ),
    "data without rows": (
        {},
        CODE + "\n\ndef train_data():\n    return TensorDataset(torch.zeros(0, 2), torch.zeros(0).long())\n",
        "code.train_data is",
    ),
    "a student without parameters": (
        {},
        CODE + "\n\ndef make_student():\n    return nn.Identity()\n",
        "code.student is code that raises ValueError: optimizer got an empty parameter list",
    ),
    "a student for other inputs": (
        {},
        CODE + "\n\ndef make_student():\n    return nn.Linear(9, 4)\n",
        "code.student is code that raises RuntimeError",
    ),
    "other weights": (
        {},
        CODE + "\n\ndef make_teacher():\n    return nn.Linear(2, 4)\n",
        "checkpoints/teacher.safetensors: keys",
    ),
    "labels out of range": (
        {},
        CODE + "\n\ndef train_data():\n    return TensorDataset(_blobs(160, 0).tensors[0], torch.arange(160) % 5)\n",
        "code.train_data is data with the label 4; expected a class from 0 to 3",
    ),
    "other data": (
        {},
        CODE + "\n\ndef val_data():\n    return TensorDataset(-_blobs(200, 1).tensors[0], torch.arange(200) % 4)\n",
        "code.teacher is a teacher that is right on",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_code_gets_one_line_and_leaves_nothing(tmp_path, name):
    changed, source, expected = BROKEN[name]
    run = sick_run(tmp_path / "run", code=REFERENCES | changed, source=source, epochs=2)
    if "loss" in changed:
        # Its own loss is kept where the loss is not what is treated.
        run = sick_run(tmp_path / "other", code=REFERENCES | changed, source=source, columns=COLUMNS, t_squared=True)
    with pytest.raises(RunError) as error:
        treat(load(run), tmp_path / "out", quiet=True)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name not in ("run", "other")) == []


def test_code_may_import_its_own_modules_late(tmp_path):
    late = CODE.replace("    return _blobs(200, 1)", "    import helper\n\n    return helper.rows(_blobs)")
    run = sick_run(tmp_path / "run", source=late, epochs=2)
    (run / "helper.py").write_text("def rows(blobs):\n    return blobs(200, 1)\n", encoding="utf-8")
    treat(load(run), tmp_path / "out", quiet=True)
    assert (tmp_path / "out" / "helper.py").is_file()
    assert "helper" not in sys.modules


def test_a_run_without_code_or_teacher_says_what_is_missing(sick, tmp_path):
    bare = shutil.copytree(sick, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    with pytest.raises(RunError, match=r"checkpoints/teacher\.safetensors: the file is missing"):
        treat(load(bare), tmp_path / "out", quiet=True)
    manifest = yaml.safe_load((bare / "kd_run.yaml").read_text(encoding="utf-8"))
    del manifest["code"]
    (bare / "kd_run.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    with pytest.raises(RunError, match=r"kd_run\.yaml: code is missing"):
        treat(load(bare), tmp_path / "out", quiet=True)


def test_two_runs_may_call_their_code_alike(sick, tmp_path):
    other = CODE.replace("nn.Linear(2, 3)", "nn.Linear(2, 5)").replace("BatchNorm1d(3)", "BatchNorm1d(5)")
    other = other.replace("nn.Linear(3, 4)", "nn.Linear(5, 4)")
    run = sick_run(tmp_path / "run", source=other, epochs=2)
    treat(load(sick), tmp_path / "first", epochs=1, quiet=True)
    treat(load(run), tmp_path / "second", epochs=1, quiet=True)
    assert weights(tmp_path / "first")["0.weight"].shape == (3, 2)
    assert weights(tmp_path / "second")["0.weight"].shape == (5, 2)


def test_the_rate_probe_takes_the_rate_that_learns_most():
    tried: list[float] = []

    def losses(schedule: Schedule, steps: int) -> list[float]:
        tried.append(schedule.learning_rate)
        too_high = schedule.learning_rate > 0.1
        return [float("nan") if too_high else 1.0 - schedule.learning_rate] * steps

    schedule = Schedule(1, 1, "adam", 20.0, 0.9, 0.0, 0)
    assert fitting_rate(schedule, PROBES["probe"], losses).learning_rate == pytest.approx(0.02)
    assert tried == pytest.approx([20.0 * share for share in PROBES["probe"]])
    assert STEPS > 10


def test_a_rate_that_is_too_low_is_found_by_the_probe_either_way():
    schedule = Schedule(1, 1, "sgd", 0.001, 0.9, 0.0, 0)
    found = fitting_rate(schedule, PROBES["probe either way"], lambda s, n: [1.0 - s.learning_rate] * n)
    assert (found.optimizer, found.learning_rate) == ("sgd", pytest.approx(0.01))


@pytest.mark.parametrize(("of_adamw", "taken"), [(0.95, "sgd"), (0.8, "adamw")])
def test_an_optimizer_that_suits_at_no_rate_is_given_up_where_another_one_is_clearly_better(of_adamw, taken):
    schedule = Schedule(1, 1, "sgd", 0.001, 0.9, 0.0, 0)
    losses = lambda tried, steps: [of_adamw if tried.optimizer == "adamw" else 1.0] * steps  # noqa: E731
    assert fitting_rate(schedule, PROBES["probe"], losses).optimizer == taken


def test_a_rate_from_a_probe_falls_to_zero_in_the_second_half():
    assert [falling(share) for share in (0.0, 0.5, 0.75, 1.0, 2.0)] == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])
