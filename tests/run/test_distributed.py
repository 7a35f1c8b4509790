"""Of several processes that train together, the first writes, and the training is what it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from kddoctor.run import load

SCRIPT = """
import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from tests.run.distillation import Distillation

folder = Path(sys.argv[1])
distributed.init_process_group("gloo")
rank = distributed.get_rank()


def train(recording):
    distillation = Distillation()
    sampler = DistributedSampler(distillation.train, shuffle=True, seed=0)
    distillation.loader = DataLoader(distillation.train, batch_size=4, sampler=sampler)
    inner = distillation.student
    distillation.student = nn.parallel.DistributedDataParallel(inner)
    if recording:
        with distillation.record(folder / "run") as run:
            distillation.train_for(2, run)
            assert (run._witnesses is None) == (rank != 0)
    else:
        distillation.train_for(2)
    return inner.state_dict()


torch.save([train(False), train(True)], folder / f"{rank}.pt")
distributed.barrier()
distributed.destroy_process_group()
"""


def test_the_first_of_two_processes_writes_and_both_train_as_before(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(tmp_path / "loop.py"), str(tmp_path)],
        check=False,
        env=environment,
        capture_output=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    for rank in (0, 1):
        plain, recorded = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(torch.equal(plain[name], recorded[name]) for name in plain)
    run = load(tmp_path / "run")
    observed = (run.observations.model_extra or {})["recorded_steps"]
    assert observed == len(run.metrics) == 14, "52 rows over two processes are seven batches of four, twice"
    assert run.observations.processes == 2
    assert run.observations.parameters_without_gradient == []
    assert run.steps is not None
    assert run.steps.labels.shape[1] == 4
