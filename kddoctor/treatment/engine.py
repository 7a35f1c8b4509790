"""Where the trainings of a treatment take place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kddoctor.run.directory import Run
from kddoctor.treatment.checkpointed import Trained
from kddoctor.treatment.code_loading import loaded_code
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.retrain import retrain
from kddoctor.treatment.schedule import Schedule
from kddoctor.treatment.training import Progress
from kddoctor.treatment.trial import Trials, one_by_one


class Retrain(Protocol):
    """Trains the treated student and writes its run directory. work: for checkpoints."""

    def __call__(self, plan: Plan, output: Path, work: Path, progress: Progress, /) -> tuple[Trained, Schedule]: ...


@dataclass(frozen=True)
class Engine:
    """trials: trains students that are only measured. retrain: trains the one that is kept."""

    trials: Trials
    retrain: Retrain


@contextmanager
def opened(name: str, run: Run, work: Path, workers: int) -> Iterator[Engine]:
    """The engine of this name, for one run; what it started is ended afterwards. Raises UsageError, RunError."""
    if name == "local":
        with local(run) as engine:
            yield engine
        return
    from kddoctor.treatment.ray_engine.engine import on_ray

    with on_ray(run, work, workers) as engine:
        yield engine


@contextmanager
def local(run: Run) -> Iterator[Engine]:
    """In this process, one after another."""
    with loaded_code(run) as code:
        yield Engine(
            one_by_one(run, code),
            lambda plan, output, work, progress: retrain(run, plan, code, output, work, progress=progress),
        )
