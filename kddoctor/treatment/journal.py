"""``progress.jsonl``: what a running treatment says about itself, for whoever looks at it from another process.

One JSON object a line: first what was begun and by which process, then every finished epoch. A resumed treatment goes
on in the same file.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kddoctor.treatment.process import Process
from kddoctor.treatment.work_directory import PROGRESS


@dataclass(frozen=True)
class Begun:
    """A treatment that was begun. before, teacher: the metric of the sick student and of its teacher.

    epochs: as asked for, None for the run's own. code: the first of ``codes``, which are all causes that are treated.
    """

    run: str
    output: str
    code: str
    epochs: int | None
    metric: str
    before: float | None
    teacher: float | None
    process: Process
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Epoch:
    """One finished epoch of ``epochs``. accuracy: on held-out rows. time: seconds since 1970."""

    epoch: int
    epochs: int
    accuracy: float
    time: float


class Journal:
    """Appends to the progress file of one treatment."""

    def __init__(self, work: Path) -> None:
        self.path = work / PROGRESS

    def begin(self, begun: Begun) -> None:
        """The first line of this process."""
        self._append({"begun": asdict(begun)})

    def epoch(self, epoch: int, epochs: int, accuracy: float) -> None:
        """After a finished epoch."""
        self._append({"epoch": asdict(Epoch(epoch, epochs, accuracy, time.time()))})

    def _append(self, line: Mapping[str, object]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def _begun(data: dict[str, Any]) -> Begun:
    codes = tuple(map(str, data.get("codes", ())))
    return Begun(**{**data, "process": Process(**data["process"]), "codes": codes})


def read_journal(work: Path) -> tuple[Begun | None, tuple[Epoch, ...]]:
    """The last beginning, and every epoch that is known, each once; (None, ()) where there is no such file.

    Lines that are cut short or make no sense are left out: the writer may be at work, or may have been killed at it.
    """
    begun: Begun | None = None
    epochs: dict[int, Epoch] = {}
    try:
        lines = (work / PROGRESS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None, ()
    for line in lines:
        try:
            data: dict[str, Any] = json.loads(line)
            if "begun" in data:
                begun = _begun(data["begun"])
            elif "epoch" in data:
                found = Epoch(**data["epoch"])
                epochs[found.epoch] = found
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return begun, tuple(epochs[number] for number in sorted(epochs))
