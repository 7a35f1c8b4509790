"""What the inputs look like, so that pipelines which differ can be told apart."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class InputStatistics:
    """Running statistics of all elements of the inputs of one place: a split, or one side of the loop."""

    def __init__(self) -> None:
        self.rows = self.elements = self.zeros = 0
        self.total = self.squares = 0.0
        self.smallest, self.largest = math.inf, -math.inf
        self.shape: list[int] = []

    def update(self, inputs: Tensor | None) -> None:
        """Add a batch [n, …]; complex inputs, and batches without a number, are passed over."""
        if inputs is None or inputs.ndim == 0 or inputs.numel() == 0 or inputs.is_complex():
            return
        values = inputs.detach().to(torch.float64)
        self.rows += len(inputs)
        self.elements += values.numel()
        self.zeros += int((values == 0).sum())
        self.total += float(values.sum())
        self.squares += float(values.square().sum())
        self.smallest = min(self.smallest, float(values.min()))
        self.largest = max(self.largest, float(values.max()))
        self.shape = list(inputs.shape[1:])

    def facts(self) -> dict[str, Any]:
        """Rows, mean, std, min, max, share of zeros, and the shape of one row."""
        if not self.elements:
            return {}
        mean = self.total / self.elements
        return {
            "rows": self.rows,
            "mean": mean,
            "std": math.sqrt(max(0.0, self.squares / self.elements - mean**2)),
            "min": self.smallest,
            "max": self.largest,
            "zeros": self.zeros / self.elements,
            "shape": self.shape,
        }

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
