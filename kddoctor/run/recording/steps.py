"""A bounded sample of training steps, as the loss saw them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from kddoctor.run.arrays import Array
from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.thinning import Thinned

MAX_NONFINITE = 4
# Loaders that bucket by length make many batch sizes; sampling a few of them is enough.
MAX_BATCH_SIZES = 4
MAX_BYTES = 1 << 30

Step = dict[str, Any]  # tensors [B, ...] and plain numbers, under the names of steps.safetensors


class StepSample:
    """At most max_steps steps, evenly spread over the run, and the first few whose loss was not finite.

    Steps of one batch size only can stand in one file, so that each size has a sample of its own, and the
    size that was seen most often is the one written.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max(1, max_steps)
        self.by_size: dict[int, Thinned[Step]] = {}
        self.nonfinite: list[Step] = []

    def wants(self, size: int, step_bytes: int, finite: bool) -> bool:
        """Whether a step of this batch size is one to copy. Ask once a step, then keep() or skip() it."""
        if size not in self.by_size and len(self.by_size) >= MAX_BATCH_SIZES:
            return False
        if size not in self.by_size:
            self.by_size[size] = Thinned(min(self.max_steps, MAX_BYTES // max(1, step_bytes)))
        sample = self.by_size[size]
        if step_bytes > MAX_BYTES:
            sample.skip()
            return False
        wanted = sample.wants() or (not finite and len(self.nonfinite) < MAX_NONFINITE)
        if not wanted:
            sample.skip()
        return wanted

    def keep(self, size: int, step: Step, finite: bool) -> None:
        sample = self.by_size[size]
        if not finite and len(self.nonfinite) < MAX_NONFINITE:
            self.nonfinite.append(step)  # where thinning cannot reach it
            sample.skip()
        else:
            sample.keep(step)

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
        steps += [step for step in self.nonfinite if len(step["labels"]) == size]
        if not steps:
            return {}
        steps.sort(key=lambda step: int(step["step"]))
        tokens = any("mask" in step for step in steps)
        return _stacked(_padded(steps) if tokens else steps)

    def state_dict(self) -> dict[str, Any]:
        sizes = {size: sample.state_dict() for size, sample in self.by_size.items()}
        return {"by_size": sizes, "nonfinite": list(self.nonfinite)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.nonfinite = list(state["nonfinite"])
        self.by_size = {}
        for size, held in state["by_size"].items():
            self.by_size[size] = Thinned(self.max_steps)
            self.by_size[size].load_state_dict(held)


def _stacked(steps: list[Step]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name in dict.fromkeys(name for step in steps for name in step):
        values = [step.get(name) for step in steps]
        if name == "step":
            arrays[name] = np.array(values, np.int64)
        elif not any(isinstance(value, Tensor) for value in values):
            arrays[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        elif _alike(values):
            arrays[name] = torch.stack(values).numpy()  # type: ignore[arg-type]  # all tensors, as just seen
    return arrays


def _alike(values: list[Any]) -> bool:
    first = values[0]
    return isinstance(first, Tensor) and all(
        isinstance(v, Tensor) and v.shape == first.shape and v.dtype == first.dtype for v in values
    )


def _padded(steps: list[Step]) -> list[Step]:
    """Sequences of different lengths, filled up to the longest with positions that do not count."""
    length = max(step["labels"].shape[1] for step in steps)
    return [{name: _pad(name, value, length) for name, value in step.items()} for step in steps]


def _pad(name: str, value: Any, length: int) -> Any:
    if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[1] == length:
        return value
    after = (0, 0) * (value.ndim - 2) + (0, length - value.shape[1])
    return pad(value, after, value=IGNORED if name == "labels" else 0)
