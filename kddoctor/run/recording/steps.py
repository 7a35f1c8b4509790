"""A bounded sample of training steps, as the loss saw them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from kddoctor.run.arrays import Array
from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.thinning import Thinned

#: Steps kept beside the even ones, of each kind of trouble.
MAX_TROUBLE = 4
#: The costly looks, which take about as long as a training step (the teacher's second pass, the gradient in the
#: student's parameters), go to the first step and to those whose number is a power of this: the even spacing, whose
#: stride is a power of two, either keeps them or has dropped them for good.
LOOKS_GROW = 4
# Loaders that bucket by length make many batch sizes; sampling a few of them is enough.
MAX_BATCH_SIZES = 4
#: Under this name, [B], stands what the rows of a step's inputs were until its labels are known.
ROWS = "rows"

Step = dict[str, Any]  # tensors [B, ...] and plain numbers, under the names of steps.safetensors


class StepSample:
    """At most max_steps steps, evenly spread over the run, and the first few in trouble: of a loss that is not finite,
    or that jumped.

    Steps of one batch size only can stand in one file, so that each size has a sample of its own, and the
    size that was seen most often is the one written. max_bytes: of the steps of one size.
    """

    def __init__(self, max_steps: int, max_bytes: int) -> None:
        self.max_steps, self.max_bytes = max(1, max_steps), max_bytes
        self.by_size: dict[int, Thinned[Step]] = {}
        self.trouble: dict[str, list[Step]] = {}
        self.too_large = False

    def wants(self, size: int, step_bytes: int, trouble: str | None) -> bool:
        """Whether a step of this batch size is one to copy. Ask once a step, then keep() or skip() it."""
        if size not in self.by_size and len(self.by_size) >= MAX_BATCH_SIZES:
            return False
        if size not in self.by_size:
            self.by_size[size] = Thinned(min(self.max_steps, self.max_bytes // max(1, step_bytes)))
        if step_bytes > self.max_bytes:
            self.too_large = True
            self._skip(size)
            return False
        wanted = self.by_size[size].wants() or self._has_room_for(trouble)
        if not wanted:
            self._skip(size)
        return wanted

    def expects(self) -> bool:
        """Whether the next step may be one to keep, trouble aside. Changes nothing, and may be asked at any time."""
        return not self.by_size or any(each.offered % each.stride == 0 for each in self.by_size.values())

    def wants_look(self, size: int, trouble: str | None) -> bool:
        """Whether a step that is to be kept gets the costly looks, too."""
        return _looked_at(self.by_size[size].offered) or self._has_room_for(trouble)

    def keep(self, size: int, step: Step, trouble: str | None) -> None:
        if trouble is not None and self._has_room_for(trouble):
            if trouble == "spike":
                step["jumped"] = 1.0
            self.trouble.setdefault(trouble, []).append(step)  # where thinning cannot reach it
            self._skip(size)
            return
        self.by_size[size].keep(step)

    def _skip(self, size: int) -> None:
        self.by_size[size].skip()

    def _has_room_for(self, trouble: str | None) -> bool:
        return trouble is not None and len(self.trouble.get(trouble, ())) < MAX_TROUBLE

    def append_last(self, size: int, step: Step) -> None:
        """Add the final step, which the even spacing may have left out."""
        sample = self.by_size[size]
        if len(sample.items) < self.max_steps:
            sample.items.append((sample.offered - 1, step))
        elif len(sample.items) > 1:
            sample.items[-1] = (sample.offered - 1, step)

    def arrays(self) -> dict[str, Array]:
        """The steps of the commonest batch size under the names of the contract; empty without any."""
        if not self.by_size:
            return {}
        size = max((sample.offered, size) for size, sample in self.by_size.items())[1]
        steps = [step for _, step in self.by_size[size].items]
        steps += [step for kind in self.trouble.values() for step in kind if len(step["student_logits"]) == size]
        steps = [step for step in steps if "labels" in step]
        if not steps:
            return {}
        steps.sort(key=lambda step: int(step["step"]))
        tokens = any("mask" in step for step in steps)
        return _stacked(_padded(steps) if tokens else steps)

    def each(self) -> Iterator[Step]:
        """Every step that is held."""
        for sample in self.by_size.values():
            yield from (step for _, step in sample.items)
        for steps in self.trouble.values():
            yield from steps

    def state_dict(self) -> dict[str, Any]:
        return {
            "by_size": {size: sample.state_dict() for size, sample in self.by_size.items()},
            "trouble": {kind: list(steps) for kind, steps in self.trouble.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trouble = {kind: list(steps) for kind, steps in state["trouble"].items()}
        self.by_size = {}
        for size, held in state["by_size"].items():
            self.by_size[size] = Thinned(self.max_steps)
            self.by_size[size].load_state_dict(held)


def _looked_at(number: int) -> bool:
    """Whether the step with this number, from 0, gets the costly looks."""
    while number >= LOOKS_GROW and number % LOOKS_GROW == 0:
        number //= LOOKS_GROW
    return number <= 1


def _stacked(steps: list[Step]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name in dict.fromkeys(name for step in steps for name in step):
        values = [step.get(name) for step in steps]
        if name == "step":
            arrays[name] = np.array(values, np.int64)
        elif name == ROWS:
            continue
        elif not any(isinstance(value, Tensor) for value in values):
            arrays[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        elif (whole := _together(values)) is not None:
            arrays[name] = whole.numpy()
    return arrays


def _together(values: list[Any]) -> Tensor | None:
    """[K, …]; NaN where a step has none. None where steps differ, or an integer is missing."""
    known = [value for value in values if isinstance(value, Tensor)]
    first = known[0]
    if any(value.shape != first.shape or value.dtype != first.dtype for value in known):
        return None
    if len(known) < len(values) and not first.is_floating_point():
        return None
    nothing = torch.full_like(first, torch.nan) if len(known) < len(values) else first
    return torch.stack([value if isinstance(value, Tensor) else nothing for value in values])


def _padded(steps: list[Step]) -> list[Step]:
    """Sequences of different lengths, filled up to the longest with positions that do not count."""
    length = max(step["labels"].shape[1] for step in steps)
    return [{name: _pad(name, value, length) for name, value in step.items()} for step in steps]


def _pad(name: str, value: Any, length: int) -> Any:
    axis = 2 if name == "teacher_member_logits" else 1
    if not isinstance(value, Tensor) or value.ndim <= axis or value.shape[axis] == length:
        return value
    after = (0, 0) * (value.ndim - axis - 1) + (0, length - value.shape[axis])
    return pad(value, after, value=IGNORED if name == "labels" else 0)
