"""However a loop ends, a directory is left that can be diagnosed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import nn

from kddoctor.run import load
from tests.run.distillation import VAL, Distillation

SCRIPT = """
import sys, time
from pathlib import Path

from kddoctor.run.recorder import Recorder
from tests.run.distillation import Distillation

path, way = Path(sys.argv[1]), sys.argv[2]
distillation = Distillation()
given = {"train_data": distillation.loader, "val_data": distillation.val, "checkpoint_seconds": 0.05}
run = Recorder(path, teacher=distillation.teacher, student=distillation.student,
               optimizer=distillation.optimizer, **given)


def train():
    while True:
        distillation.train_for(1, run)
        (path.parent / "running").touch()
        if way == "crash":
            raise RuntimeError("the loop broke")
        if way == "no finish":
            return
        time.sleep(0.01)


if way == "block":
    with run:
        train()
else:
    train()
"""


def started(path: Path, way: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(path), way], env=environment, stderr=subprocess.PIPE)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if path.exists():
            return
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


@pytest.mark.parametrize(("way", "ended"), [("crash", "RuntimeError"), ("no finish", "exit")])
def test_a_recorder_that_nobody_finishes_writes_at_exit(tmp_path: Path, way: str, ended: str) -> None:
    process = started(tmp_path / "run", way)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode != 0) == (way == "crash"), errors
    run = load(tmp_path / "run")
    assert run.steps is not None
    assert run.observations.recording is not None
    assert run.observations.recording.ended == ended
    val = run.predictions("val")
    assert val is not None
    assert val.n == VAL


@pytest.mark.parametrize(
    ("number", "way", "code"),
    [
        (signal.SIGINT, "loop", None),
        (signal.SIGTERM, "loop", 143),
        (signal.SIGTERM, "block", 143),
        (signal.SIGKILL, "block", -9),
    ],
)
def test_a_loop_that_is_stopped_leaves_a_run(
    tmp_path: Path, number: signal.Signals, way: str, code: int | None
) -> None:
    process = started(tmp_path / "run", way)
    # A process that is killed leaves what it wrote in between.
    wait_for(tmp_path / ("run" if number == signal.SIGKILL else "running"), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code if code is not None else process.returncode != 0, errors
    run = load(tmp_path / "run")
    assert run.steps is not None
    assert run.predictions("val") is not None
    assert run.observations.recording is not None
    expected = {signal.SIGINT: "KeyboardInterrupt", signal.SIGKILL: "not yet"}.get(number)
    assert run.observations.recording.ended == (expected or ("SystemExit" if way == "block" else "exit"))
    leftovers = [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".run")]
    assert number == signal.SIGKILL or not leftovers


def test_records_that_are_written_in_between_change_nothing(tmp_path: Path) -> None:
    from tests.run.test_recorder import assert_same, everything

    plain = Distillation()
    plain.train_for(3)
    watched = Distillation()
    with watched.record(tmp_path / "run", checkpoint_seconds=0) as run:
        watched.train_for(1, run)
        assert load(tmp_path / "run").observations.recording is not None
        watched.train_for(2, run)
        assert_same(everything(watched), everything(plain))
    assert load(tmp_path / "run").observations.recording is None


def test_ctrl_c_in_a_record_that_is_written_in_between_ends_the_loop(tmp_path: Path) -> None:
    distillation = Distillation()
    interrupted = False

    def interrupt_evaluation(module: nn.Module, *_: object) -> None:
        nonlocal interrupted
        if not module.training and not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    distillation.student[0].register_forward_hook(interrupt_evaluation)
    with pytest.raises(KeyboardInterrupt), distillation.record(tmp_path / "run", checkpoint_seconds=0) as run:
        distillation.train_for(1, run)
    assert interrupted
    written = load(tmp_path / "run")
    assert written.steps is not None
    assert written.observations.recording is not None
    assert written.observations.recording.ended == "KeyboardInterrupt"


def test_ctrl_c_while_the_models_are_evaluated_keeps_what_there_is(tmp_path: Path) -> None:
    distillation = Distillation()
    run = distillation.record(tmp_path / "run")
    distillation.train_for(1, run)
    calls = 0

    def interrupt(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt

    distillation.student[0].register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    written = load(tmp_path / "run")
    assert written.predictions("val") is not None
    assert written.steps is not None
    assert written.observations.recording is not None
    assert written.observations.recording.ended == "KeyboardInterrupt"
