"""Rows of metrics.jsonl, as many as anybody will plot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kddoctor.run.arrays import Array
from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.outputs import number_of
from kddoctor.run.recording.thinning import Thinned

#: A chart has about as many points; each row costs the loop a gradient norm and a batch's accuracy.
MAX_ROWS = 512
#: Numbers up to which one thread of numpy is the faster one.
FEW = 1 << 16

Row = dict[str, Any]


class MetricRows:
    """Rows of training steps, thinned evenly; rows that the user logged are all kept, in order of time."""

    def __init__(self) -> None:
        self._steps: Thinned[Row] = Thinned(MAX_ROWS)
        self._logged: list[tuple[int, Row]] = []
        # Some loops call step() before optimizer.step(), others after it: which, the first event tells.
        self._norm_comes_first: bool | None = None
        self._norm: float | None = None
        self._awaiting: Row | None = None

    def step(self, row: Callable[[], Row]) -> None:
        """Offer a step's row. It is made only where it is kept: reading a loss waits for the device."""
        if self._norm_comes_first is None:
            self._norm_comes_first = self._norm is not None
        self._awaiting = None
        if self._steps.wants():
            made = {name: plain(value) for name, value in row().items()}
            if self._norm is not None:
                made["grad_norm"] = self._norm
            elif not self._norm_comes_first:
                self._awaiting = made
            self._steps.keep(made)
        else:
            self._steps.skip()
        self._norm = None

    def log(self, row: Row) -> None:
        self._logged.append((self._steps.offered, {name: plain(value) for name, value in row.items()}))

    def wants_gradient_norm(self) -> bool:
        if self._norm_comes_first is False:
            return self._awaiting is not None
        return self._steps.offered % self._steps.stride == 0

    def take_gradient_norm(self, norm: float) -> None:
        if self._awaiting is not None:
            self._awaiting["grad_norm"] = norm
            self._awaiting = None
        elif self._norm_comes_first is not False:
            self._norm = norm

    def rows(self) -> list[Row]:
        timed = [(index, 0, row) for index, row in self._steps.items]
        timed += [(index - 1, 1, row) for index, row in self._logged]  # after the step it followed
        return [row for _, _, row in sorted(timed, key=lambda item: item[:2])]

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps.state_dict(), "logged": [list(pair) for pair in self._logged]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps.load_state_dict(state["steps"])
        self._logged = [(index, row) for index, row in state["logged"]]


def plain(value: object) -> float | int | str | None:
    """A scalar as Python has it. Raises TypeError for anything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return number_of(value)


def batch_rates(tensors: dict[str, Tensor], task: str) -> dict[str, float]:
    """student_accuracy and agreement with the teacher on the batch, for tasks that choose one class."""
    if task not in ("multiclass", "tokens") or not {"student_logits", "teacher_logits", "labels"} <= set(tensors):
        return {}
    student, teacher, labels = tensors["student_logits"], tensors["teacher_logits"], tensors["labels"]
    if student.shape != teacher.shape:
        return {}
    truth = labels.argmax(-1) if labels.shape == student.shape else labels
    if truth.shape != student.shape[:-1]:
        return {}
    ours, theirs, right = _choices(student), _choices(teacher), truth.detach().cpu().numpy()
    counts = right != IGNORED
    total = max(1, int(np.count_nonzero(counts)))
    return {
        "student_accuracy": int(np.count_nonzero((ours == right) & counts)) / total,
        "agreement": int(np.count_nonzero((ours == theirs) & counts)) / total,
    }


def _choices(logits: Tensor) -> Array:
    """The class that is chosen along the last axis."""
    # In numpy, whose calls on a few numbers cost a fraction of torch's.
    if logits.is_cpu and logits.dtype == torch.float32 and logits.numel() <= FEW:
        chosen: Array = logits.detach().numpy().argmax(-1)
        return chosen
    return logits.detach().argmax(-1).cpu().numpy()
