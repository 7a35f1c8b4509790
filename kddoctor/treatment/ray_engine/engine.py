"""The engine of a treatment whose trainings take place on a Ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kddoctor.run.directory import Run
from kddoctor.treatment.engine import Engine
from kddoctor.treatment.ray_engine.cluster import check_room, connected
from kddoctor.treatment.ray_engine.side_by_side import side_by_side
from kddoctor.treatment.ray_engine.together import together


@contextmanager
def on_ray(run: Run, work: Path, workers: int) -> Iterator[Engine]:
    """The cluster that is there, or one on this machine for as long as this lasts.

    run, work: on a file system that every node shares. workers: processes that retrain the student together.
    Raises UsageError where the cluster is too small or cannot be reached.
    """
    storage = work.resolve() / "ray"
    with connected():
        check_room(workers)
        yield Engine(side_by_side(run, storage), together(run, storage, workers))
