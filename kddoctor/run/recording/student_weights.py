"""Which of the student's parameters ended as they began, and which values its weights have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.run.recording.outputs import copied, evenly_spaced
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.run.recording.weights_in_use import weights_in_use

# Enough to see that a parameter moved: whatever trains it, trains all of it or a good part.
REMEMBERED = 1 << 14
#: Smallest weight whose values are counted, and the most of its elements that are.
MIN_ELEMENTS, MAX_ELEMENTS = 512, 1 << 20


class StudentWeights:
    """Remembers the student's parameters, up to 16,384 evenly spaced elements of each; those that hold no values here
    (of a meta device) are left out.
    """

    def __init__(self, student: nn.Module) -> None:
        self._student = student
        self.before = self._remembered()

    def observations(self) -> dict[str, Any]:
        """Keys of observations.json about the student as it is now."""
        now = self._remembered()
        known = [name for name in self.before if name in now]
        unmoved = [name for name in known if torch.equal(self.before[name], now[name])]
        facts: dict[str, Any] = {}
        if known:
            facts |= {"parameters_unmoved": unmoved, "parameters_moved": len(known) - len(unmoved)}
        # Weights that are computed on the way to their layer may be drawn, or take a step of their own in training.
        with undisturbed(self._student):
            return facts | _values_in_use(self._student)

    def _remembered(self) -> dict[str, Tensor]:
        named = self._student.named_parameters()
        return {name: evenly_spaced(p, REMEMBERED) for name, p in named if _has_values(p)}


def _has_values(parameter: Tensor) -> bool:
    return parameter.is_floating_point() and not parameter.is_meta and parameter.layout == torch.strided


def _values_in_use(student: nn.Module) -> dict[str, Any]:
    """Share of zeros, and the weight with the fewest distinct values: quantised ones have as many as their format has
    steps.
    """
    zeros = elements = 0
    fewest: dict[str, Any] | None = None
    for name, weight in weights_in_use(student):
        zeros += int((weight == 0).sum())
        elements += weight.numel()
        if weight.numel() < MIN_ELEMENTS:
            continue
        sample = copied(weight).reshape(-1)[:: max(1, weight.numel() // MAX_ELEMENTS)]
        distinct = len(torch.unique(sample))
        if fewest is None or distinct < fewest["distinct"]:
            fewest = {"parameter": name, "distinct": distinct, "elements": len(sample)}
    facts = {} if fewest is None else {"student_distinct_values": fewest}
    return facts | ({"student_zeros": zeros / elements} if elements else {})
