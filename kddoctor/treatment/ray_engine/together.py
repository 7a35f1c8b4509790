"""The retraining, by one or several workers together, with Ray Train."""

import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kddoctor.errors import KDDoctorError, UsageError
from kddoctor.run.directory import Run
from kddoctor.treatment.checkpointed import Trained
from kddoctor.treatment.engine import Retrain
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.ray_engine.place import Place
from kddoctor.treatment.ray_engine.ranks import Ranks
from kddoctor.treatment.retrain import retrain
from kddoctor.treatment.schedule import Schedule
from kddoctor.treatment.team import ALONE
from kddoctor.treatment.training import Progress

#: How often workers or their nodes may be lost before the training is given up.
LOSSES = 3
#: Seconds that workers wait for one another: while the first trains an assistant, or looks at held-out rows.
PATIENCE = 24 * 3600
#: Seconds between looks at what the workers have to tell.
PAUSE = 0.2


@dataclass(frozen=True)
class _Order:
    """What is to be retrained, and where.

    told: what workers have to tell: None when they begin, (epoch, epochs, accuracy), an error, or the result.
    """

    place: Place
    plan: Plan
    output: Path
    work: Path
    storage: Path
    workers: int
    told: Queue


def together(run: Run, storage: Path, workers: int) -> Retrain:
    """On the cluster that this process is connected to.

    storage: for Ray Train's own files. The first worker writes checkpoints and the record. Workers that are lost are
    replaced, and all go on from the last epoch. One worker trains the very student of the local engine.
    """
    place = Place.of(run)

    def carry_out(plan: Plan, output: Path, work: Path, progress: Progress) -> tuple[Trained, Schedule]:
        # What the training hangs on is kept where this process is: any other node may be lost.
        here: Any = {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(_node(), soft=False)}
        told = Queue(actor_options=here)
        order = _Order(place, plan, output.resolve(), work.resolve(), storage, workers, told)
        # In a task of its own, which can be cancelled with all that it started.
        training = ray.remote(**here)(_fit).remote(order)
        try:
            return _heard(told, training, progress)
        finally:
            ray.cancel(training, force=True)
            told.shutdown(force=True)

    return carry_out


def _node() -> str:
    return ray.get_runtime_context().get_node_id()  # type: ignore[no-any-return]


def _heard(told: Queue, training: Any, progress: Progress) -> tuple[Trained, Schedule]:
    """Pass on what workers tell until the training is over. Raises what they failed with."""
    result: tuple[Trained, Schedule] | None = None
    begun = over = False
    while not over:
        # Looked at before the queue is emptied: nothing is told after the end.
        over = bool(ray.wait([training], timeout=PAUSE)[0])
        for message in _waiting(told):
            match message:
                case None if begun:
                    sys.stderr.write("ray: a worker was lost; the retraining goes on from its last epoch\n")
                case None:
                    begun = True
                case KDDoctorError():
                    raise message
                case (Trained() as trained, schedule):
                    result = trained, schedule
                case (epoch, epochs, accuracy):
                    progress(epoch, epochs, accuracy)
    try:
        ray.get(training)
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        raise UsageError(f"the workers were lost more than {LOSSES} times, the last time by: {why}") from None
    assert result is not None
    return result


def _waiting(told: Queue) -> Iterator[Any]:
    try:
        while True:
            yield told.get(block=False)
    except Empty:
        return


def _fit(order: _Order) -> None:
    TorchTrainer(
        _retrain,
        train_loop_config={"order": order},
        torch_config=TorchConfig(backend="gloo", timeout_s=PATIENCE),
        scaling_config=train.ScalingConfig(num_workers=order.workers, resources_per_worker={"CPU": 1}),
        run_config=train.RunConfig(
            name=f"retraining-{uuid.uuid4().hex[:8]}",
            storage_path=str(order.storage),
            failure_config=train.FailureConfig(max_failures=LOSSES),
        ),
    ).fit()


def _retrain(config: dict[str, Any]) -> None:
    """One worker's part."""
    order: _Order = config["order"]
    team = Ranks() if order.workers > 1 else ALONE

    if team.leads:
        order.told.put(None)

    def progress(epoch: int, epochs: int, accuracy: float) -> None:
        if team.leads:
            order.told.put((epoch, epochs, accuracy))

    try:
        with order.place.entered() as (run, code):
            found = retrain(run, order.plan, code, order.output, order.work, progress=progress, team=team)
    except KDDoctorError as error:
        order.told.put(error)
        raise
    if team.leads:
        order.told.put(found)
