"""Checkpoints of a training, beside its output until that is complete."""

import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout

from kddoctor.errors import UsageError
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.run.paths import reason
from kddoctor.treatment.work_directory import CHECKPOINT, LOCK, SCRIPT, TRIAL, checkpoint_directory

#: A checkpoint waits for this many times what the last one took: a tenth of the time at most, for the disk's sake.
REST = 10


class Stateful(Protocol):
    """Whatever can be put away and taken up again."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


@dataclass
class Checkpoint:
    """Model, optimiser, scheduler and the like after an epoch, in one file that is replaced atomically.

    signature: what has to be the same for the file to be gone on from. what: the training, as messages call it.
    """

    directory: Path
    signature: str
    parts: dict[str, Stateful]
    what: str = "treatment"
    _next: float = field(default=0.0, init=False)

    def offer(self, epochs: int, *, of: int) -> None:
        """After each of so many epochs: saved at the end, and where it is worth its time. Short ones go by."""
        if epochs == of or time.monotonic() >= self._next:
            self.save(epochs)

    def save(self, epochs: int) -> None:
        """After ``epochs`` finished epochs. After a crash the file is the old or the new one."""
        started = time.monotonic()
        self.directory.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in self.parts.items()}
        partial = self.directory / f"{CHECKPOINT}.partial"
        with partial.open("wb") as stream:
            torch.save({"signature": self.signature, "epochs": epochs, "parts": state}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.directory / CHECKPOINT)
        ended = time.monotonic()
        self._next = ended + REST * (ended - started)

    def restore(self) -> int:
        """How many epochs were finished; 0 where nothing was saved yet. Raises UsageError for what does not fit."""
        path = self.directory / CHECKPOINT
        if not path.exists():
            return 0
        try:
            with warnings.catch_warnings(action="ignore"):
                state = torch.load(path, weights_only=True)
            signature, epochs, parts = state["signature"], int(state["epochs"]), dict(state["parts"])
        except Exception as error:  # a damaged file fails in many ways
            why = f"the checkpoint cannot be read ({type(error).__name__})"
            raise UsageError(f"{path}: {why}; delete {self.directory} and start again") from None
        if signature != self.signature:
            advice = f"delete {self.directory}, or ask for the same as before"
            raise UsageError(f"{path}: belongs to another {self.what}; {advice}")
        for name, part in self.parts.items():
            try:
                part.load_state_dict(parts[name])
            except Exception as error:  # the run's code may have changed in any way since
                why = f"its {name} does not fit the run's code any more ({type(error).__name__})"
                raise UsageError(f"{path}: {why}; delete {self.directory} and start again") from None
        return epochs


@contextmanager
def claimed(output: Path, *, resume: bool) -> Iterator[Path]:
    """The checkpoint directory of a treatment into ``output``, for this process alone.

    Removed at the end where the output is complete or nothing was saved. Raises UsageError where an interrupted
    treatment lies there and is not to be resumed, where another process is at it, or where the disk refuses.
    """
    with claimed_directory(checkpoint_directory(output), output, "treatment", resume=resume) as work:
        try:
            yield work
        finally:
            if (output / MANIFEST_FILE).exists():
                discard(work)


@contextmanager
def claimed_directory(work: Path, output: Path, what: str, *, resume: bool) -> Iterator[Path]:
    """The directory ``work`` of a training that ``output`` comes from, for this process alone.

    Removed at the end where no checkpoint lies in it: ``discard`` it when the output is whole. Raises as ``claimed``.
    """
    if _holds_work(work) and not resume:
        raise UsageError(f"{output}: an interrupted {what} lies in {work}; add --resume, or delete that directory")
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{output}: another process is at a {what} there; wait, or choose another --output") from None
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {reason(error)}") from None
    try:
        yield work
    finally:
        if not _holds_work(work):
            shutil.rmtree(work, ignore_errors=True)
        lock.release()


def discard(work: Path) -> None:
    """Forget checkpoints and results: what they were for is written."""
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != LOCK:
            entry.unlink(missing_ok=True)


def _holds_work(work: Path) -> bool:
    """Whether anything lies there that it would take time to make again."""
    return any(any(work.rglob(name)) for name in (CHECKPOINT, TRIAL, SCRIPT))
