"""Checkpoints of a treatment, beside its output until that is complete."""

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout

from kddoctor.errors import UsageError
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.run.paths import reason
from kddoctor.treatment.prescription import Plan
from kddoctor.treatment.work_directory import CHECKPOINT, LOCK, checkpoint_directory


class Stateful(Protocol):
    """Whatever can be put away and taken up again."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


@dataclass(frozen=True)
class Checkpoint:
    """Student, optimiser, scheduler and recorder after every epoch, in one file that is replaced atomically."""

    directory: Path
    plan: Plan
    parts: dict[str, Stateful]

    def save(self, epochs: int) -> None:
        """After ``epochs`` finished epochs. After a crash the file is the old or the new one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in self.parts.items()}
        partial = self.directory / f"{CHECKPOINT}.partial"
        with partial.open("wb") as stream:
            torch.save({"plan": self._signature(), "epochs": epochs, "parts": state}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.directory / CHECKPOINT)

    def restore(self) -> int:
        """How many epochs were finished; 0 where nothing was saved yet. Raises UsageError for what does not fit."""
        path = self.directory / CHECKPOINT
        if not path.exists():
            return 0
        try:
            with warnings.catch_warnings(action="ignore"):
                state = torch.load(path, weights_only=True)
            signature, epochs, parts = state["plan"], int(state["epochs"]), dict(state["parts"])
        except Exception as error:  # a damaged file fails in many ways
            why = f"the checkpoint cannot be read ({type(error).__name__})"
            raise UsageError(f"{path}: {why}; delete {self.directory} and start again") from None
        if signature != self._signature():
            advice = f"delete {self.directory}, or ask for the same codes and epochs again"
            raise UsageError(f"{path}: belongs to another treatment; {advice}")
        for name, part in self.parts.items():
            try:
                part.load_state_dict(parts[name])
            except Exception as error:  # the run's code may have changed in any way since
                why = f"its {name} does not fit the run's code any more ({type(error).__name__})"
                raise UsageError(f"{path}: {why}; delete {self.directory} and start again") from None
        return epochs

    def _signature(self) -> str:
        """What has to be the same for a checkpoint to be gone on from."""
        plan = self.plan
        section = plan.manifest.training.model_dump(mode="json")
        return json.dumps([plan.code, dict(plan.changes), section], sort_keys=True, default=str)


@contextmanager
def claimed(output: Path, *, resume: bool) -> Iterator[Path]:
    """The checkpoint directory of ``output``, for this process alone.

    Removed at the end where the output is complete or nothing was saved. Raises UsageError where an interrupted
    treatment lies there and is not to be resumed, where another process is at it, or where the disk refuses.
    """
    work = checkpoint_directory(output)
    if (work / CHECKPOINT).exists() and not resume:
        raise UsageError(f"{output}: an interrupted treatment lies in {work}; add --resume, or delete that directory")
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{output}: another process is treating into it; wait, or choose another --output") from None
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {reason(error)}") from None
    try:
        yield work
    finally:
        if (output / MANIFEST_FILE).exists() or not (work / CHECKPOINT).exists():
            shutil.rmtree(work, ignore_errors=True)
        lock.release()
