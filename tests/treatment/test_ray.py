"""On a Ray cluster a treatment gives what it gives here, also where a node is lost in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kddoctor.engine.diagnosis import diagnose
from kddoctor.errors import RunError, UsageError
from kddoctor.run import Run, load
from kddoctor.treatment.code_loading import loaded_code
from kddoctor.treatment.experiments.experiment import Arm, Experiment
from kddoctor.treatment.experiments.running import Laboratory, carry_out
from kddoctor.treatment.prescription import prescribe
from kddoctor.treatment.treat import treat
from kddoctor.treatment.trial import one_by_one
from kddoctor.treatment.work_directory import CHECKPOINT, checkpoint_directory
from tests.treatment.recorded import CODE, sick_run

pytest.importorskip("ray", reason="ray is not installed: pip install 'kddoctor[ray]'")
# What Ray and its own dependencies warn about is not ours to mend.
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]

#: An epoch takes two seconds where a file says so: long enough to be interrupted while workers that began later are at
#: it, too, and no other student for it.
PAUSING = """
import time
from pathlib import Path


class Pause(nn.Module):
    def forward(self, inputs):
        if Path(__file__).with_name("slow").exists():
            time.sleep(0.1)
        return inputs


def make_student():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.1), nn.Linear(3, 4), Pause())
"""
#: Without layers that look at a whole batch or draw at random, so that parts of it add up to the whole.
PLAIN = (CODE + PAUSING).replace("nn.BatchNorm1d(3)", "nn.Identity()").replace("nn.Dropout(0.1)", "nn.Identity()")
EPOCHS = 30


def slow_down(run: Run) -> None:
    (run.path / "slow").touch()


def hurry(run: Run) -> None:
    (run.path / "slow").unlink()


class Nodes:
    """A head that trains nothing, and two nodes of one processor each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 << 20}
        self.cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        self.alive = [self._add() for _ in range(2)]

    def lose_one(self) -> None:
        """At once, with all that runs on it; another one comes instead."""
        self.cluster.remove_node(self.alive.pop(0), allow_graceful=False)
        self.alive.append(self._add())

    def _add(self):
        return self.cluster.add_node(num_cpus=1, object_store_memory=100 << 20)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Seconds until a node that does not answer is taken for lost; by default half a minute.
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "4")
        # Ray has its workers wait for whatever else runs on a machine, for minutes where a lot does.
        patch.setenv("RAY_worker_niceness", "0")
        started = Nodes()
        patch.setenv("RAY_ADDRESS", started.cluster.address)
        yield started
        started.cluster.shutdown()


class When(threading.Thread):
    """Waits for something, and then does something, once."""

    def __init__(self, happened: Callable[[], bool], do: Callable[[], object]) -> None:
        super().__init__()
        self._happened, self._do, self._over = happened, do, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.02):
            if self._happened():
                self._do()
                return

    def end(self) -> None:
        """It is too late for it to happen."""
        self._over.set()
        self.join()


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "checkpoints" / "student.safetensors")


def test_a_node_that_is_lost_in_mid_trial_changes_nothing(nodes, tmp_path, capsys):
    run = load(sick_run(tmp_path / "run", source=CODE + PAUSING))
    here = treat(run, tmp_path / "here", seeds=3, epochs=EPOCHS, quiet=True)
    slow_down(run)
    work = checkpoint_directory(tmp_path / "there")
    both_in_the_middle = lambda: len(list(work.glob(f"seed-*/checkpoint/{CHECKPOINT}"))) == 2  # noqa: E731
    watching = When(both_in_the_middle, lambda: (nodes.lose_one(), hurry(run)))
    there = treat(run, tmp_path / "there", seeds=3, epochs=EPOCHS, engine="ray", quiet=True)
    watching.end()
    assert "a worker was lost; its trial goes on elsewhere" in capsys.readouterr().err
    assert there == here
    a, b = weights(tmp_path / "here"), weights(tmp_path / "there")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not work.exists()
    assert len(nodes.cluster.list_all_nodes()) == 3, "the cluster is left as it was"


def test_verdicts_are_those_of_the_local_engine(nodes, tmp_path):
    import ray

    from kddoctor.treatment.ray_engine.cluster import connected
    from kddoctor.treatment.ray_engine.side_by_side import side_by_side

    run = load(sick_run(tmp_path / "run"))
    useless = [Arm(f"rate {i}", {"training.learning_rate": 10.0**-i}) for i in range(5, 9)]
    experiment = Experiment("rates", "Q?", (), Arm("as prescribed"), lambda _run: useless)
    with loaded_code(run) as code:
        prescription = prescribe(run.manifest, diagnose(run))
        here = Laboratory(run, one_by_one(run, code), prescription, 6, tmp_path / "here")
        verdicts = carry_out(here, [experiment], 15, lambda *_: None)
    with connected():
        there = replace(here, trials=side_by_side(run, tmp_path / "ray"), work=tmp_path / "there")
        assert carry_out(there, [experiment], 15, lambda *_: None) == verdicts
    assert any(arm.stopped for arm in verdicts[0].arms)
    assert not ray.is_initialized()


def test_two_workers_train_on_the_same_batches_also_where_one_is_lost(nodes, tmp_path, capsys):
    run = load(sick_run(tmp_path / "run", source=PLAIN))
    here = treat(run, tmp_path / "here", epochs=EPOCHS, quiet=True)
    slow_down(run)
    work = checkpoint_directory(tmp_path / "there")
    watching = When((work / CHECKPOINT).exists, lambda: (nodes.lose_one(), hurry(run)))
    there = treat(run, tmp_path / "there", epochs=EPOCHS, engine="ray", workers=2, quiet=True)
    watching.end()
    assert "a worker was lost; the retraining goes on" in capsys.readouterr().err
    a, b = weights(tmp_path / "here"), weights(tmp_path / "there")
    assert all(torch.allclose(a[name], b[name], atol=1e-3) for name in a)
    assert (there.codes, there.causes_after, there.epochs) == (here.codes, here.causes_after, here.epochs)
    assert there.after == pytest.approx(here.after, abs=0.01)
    assert len(load(tmp_path / "there").metrics) == len(load(tmp_path / "here").metrics)


def test_what_a_workers_code_cannot_do_is_said_in_one_line(nodes, tmp_path):
    path = sick_run(tmp_path / "run")
    broken = CODE.replace("def make_student():", "def make_student():\n    raise OSError('no such weights')")
    (path / "blobs.py").write_text(broken, encoding="utf-8")
    with pytest.raises(RunError, match=r"code\.student is .*no such weights"):
        treat(load(path), tmp_path / "out", epochs=2, seeds=2, engine="ray", quiet=True)


def test_more_workers_than_processors_are_refused(nodes, tmp_path):
    run = load(sick_run(tmp_path / "run"))
    with pytest.raises(UsageError, match="3 workers need a processor each, and the Ray cluster has 2"):
        treat(run, tmp_path / "out", engine="ray", workers=3, quiet=True)


def test_an_interruption_ends_the_cluster_that_was_started(tmp_path):
    run, output = sick_run(tmp_path / "run"), tmp_path / "out"
    command = [sys.executable, "-m", "kddoctor", "treat", str(run), "--output", str(output)]
    asked = ["--epochs", "5000", "--engine", "ray"]
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "TMPDIR": "/tmp", "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [*command, *asked], env=environment, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    saved = checkpoint_directory(output) / CHECKPOINT
    When(lambda: saved.exists() or process.poll() is not None, lambda: os.killpg(process.pid, signal.SIGINT)).join()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr.decode()
    assert stdout == b""
    assert stderr.decode().splitlines()[-1].endswith("--epochs 5000 --engine ray --resume")
    assert saved.exists()
    assert not list(home.iterdir())
    assert json.loads((checkpoint_directory(output) / "progress.jsonl").read_text().splitlines()[0])["begun"]
