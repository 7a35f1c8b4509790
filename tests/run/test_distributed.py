"""Of several processes that train together, the first writes, and the training is what it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from kddoctor.run import load
from tests.run.distillation import TRAIN, VAL, Distillation, convnet

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
        # A place of its own for each, so that whoever writes is seen.
        with distillation.record(folder / ("run" if rank == 0 else "nobody")) as run:
            distillation.train_for(2, run)
            assert (run._witnesses is None) == (rank != 0)
    else:
        distillation.train_for(2)
    return inner.state_dict()


torch.save([train(False), train(True)], folder / f"{rank}.pt")
distributed.barrier()
distributed.destroy_process_group()
"""


def launched(folder: Path) -> None:
    """Run the script in two processes, as torchrun does."""
    (folder / "loop.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(folder / "loop.py"), str(folder)],
        check=False,
        env=environment,
        capture_output=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def dealt_to_the_first(data: TensorDataset, epochs: int) -> list[list[int]]:
    """Labels of every batch that the sampler gives to the first of two processes."""
    sampler = DistributedSampler(data, num_replicas=2, rank=0, shuffle=True, seed=0)
    loader = DataLoader(data, batch_size=4, sampler=sampler)
    return [labels.tolist() for _ in range(epochs) for _, labels in loader]


def test_the_first_of_two_processes_writes_and_both_train_as_before(tmp_path: Path) -> None:
    launched(tmp_path)
    for rank in (0, 1):
        plain, recorded = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(torch.equal(plain[name], recorded[name]) for name in plain)
    assert not (tmp_path / "nobody").exists()
    run = load(tmp_path / "run")
    observed = (run.observations.model_extra or {})["recorded_steps"]
    assert observed == len(run.metrics) == 14, "52 rows over two processes are seven batches of four, twice"
    assert run.observations.processes == 2
    assert run.manifest.training.batch_size == 8, "of both processes: an update is made of as many rows"
    assert run.observations.parameters_without_gradient == []
    assert run.steps is not None
    dealt = dealt_to_the_first(Distillation().train, epochs=2)
    whole = {step: labels for step, labels in enumerate(dealt) if len(labels) == 4}
    assert run.steps.step.tolist() == list(whole), "a batch of another size stands in no array with the others"
    assert run.steps.labels.read().tolist() == list(whole.values())
    for split, rows in (("train", TRAIN), ("val", VAL)):
        part = run.predictions(split)
        assert part is not None
        assert part.n == len(run.fingerprints(split)) == rows, "of all processes' rows, each once"
    parameters = run.observations.parameters
    assert parameters is not None
    assert parameters.student == sum(p.numel() for p in convnet(3).parameters())
