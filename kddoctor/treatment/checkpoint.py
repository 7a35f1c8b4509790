"""Checkpoints of a treatment, beside its output until that is complete."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from kddoctor.errors import UsageError
from kddoctor.treatment.prescription import Plan

FILE = "checkpoint.pt"


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
        partial = self.directory / f"{FILE}.partial"
        with partial.open("wb") as stream:
            torch.save({"plan": self._signature(), "epochs": epochs, "parts": state}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.directory / FILE)

    def restore(self) -> int:
        """How many epochs were finished; 0 where nothing was saved yet. Raises UsageError for what does not fit."""
        path = self.directory / FILE
        if not path.exists():
            return 0
        try:
            state = torch.load(path, weights_only=True)
        except Exception as error:  # a damaged file fails in many ways
            why = f"the checkpoint cannot be read ({type(error).__name__})"
            raise UsageError(f"{path}: {why}; delete {self.directory} and start again") from None
        if state["plan"] != self._signature():
            advice = f"delete {self.directory}, or ask for the same codes and epochs again"
            raise UsageError(f"{path}: belongs to another treatment; {advice}")
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        return int(state["epochs"])

    def discard(self) -> None:
        """Once the output is complete."""
        if not self.directory.exists():
            return
        for leftover in self.directory.iterdir():
            leftover.unlink()
        self.directory.rmdir()

    def _signature(self) -> str:
        """What has to be the same for a checkpoint to be gone on from."""
        plan = self.plan
        section = plan.manifest.training.model_dump(mode="json")
        return json.dumps([plan.code, dict(plan.changes), section], sort_keys=True, default=str)


def checkpoint_directory(output: Path) -> Path:
    """Hidden, beside the output."""
    return output.with_name(f".{output.name}.treating")
