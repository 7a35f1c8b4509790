"""Which of the student's parameters ended as they began, and how many of its weights are nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.run.recording.weights_in_use import weights_in_use

# Enough to see that a parameter moved: whatever trains it, trains all of it or a good part.
MAX_ELEMENTS = 1 << 14


class StudentWeights:
    """Remembers the student's parameters, up to 16,384 evenly spaced elements of each; those that hold no values here
    (of a meta device) are left out.
    """

    def __init__(self, student: nn.Module) -> None:
        self._student = student
        self.before = {name: _sample(p) for name, p in student.named_parameters() if _has_values(p)}

    def observations(self) -> dict[str, Any]:
        """Keys of observations.json about the student as it is now."""
        now = {name: p for name, p in self._student.named_parameters() if _has_values(p)}
        pairs = {name: (before, _sample(now[name])) for name, before in self.before.items() if name in now}
        unmoved = [name for name, (before, after) in pairs.items() if torch.equal(before, after)]
        facts: dict[str, Any] = {}
        if pairs:
            facts |= {"parameters_unmoved": unmoved, "parameters_moved": len(pairs) - len(unmoved)}
        counts = [(int((weight == 0).sum()), weight.numel()) for _, weight in weights_in_use(self._student)]
        elements = sum(number for _, number in counts)
        return facts | ({"student_zeros": sum(zeros for zeros, _ in counts) / elements} if elements else {})


def _has_values(parameter: Tensor) -> bool:
    return parameter.is_floating_point() and not parameter.is_meta and parameter.layout == torch.strided


def _sample(parameter: Tensor) -> Tensor:
    flat = parameter.detach().reshape(-1)
    step = max(1, -(-flat.numel() // MAX_ELEMENTS))
    return flat[::step].to("cpu", copy=True)
