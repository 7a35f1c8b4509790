"""What the inputs look like, so that pipelines which differ can be told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Summary:
    """Sums over all elements of one batch. shape: of one row."""

    rows: int
    elements: int
    zeros: int
    total: float
    squares: float
    smallest: float
    largest: float
    shape: tuple[int, ...]


def summary_of(inputs: Tensor | None) -> Summary | None:
    """The sums of a batch [n, …]; None for complex inputs, and batches without a number."""
    if inputs is None or inputs.ndim == 0 or inputs.numel() == 0 or inputs.is_complex():
        return None
    values = inputs.detach()
    values = values if values.is_floating_point() else values.to(torch.float64)
    smallest, largest = torch.aminmax(values)
    return Summary(
        rows=len(inputs),
        elements=values.numel(),
        zeros=values.numel() - int(torch.count_nonzero(values)),
        total=float(values.sum(dtype=torch.float64)),
        squares=float(values.square().sum(dtype=torch.float64)),
        smallest=float(smallest),
        largest=float(largest),
        shape=tuple(inputs.shape[1:]),
    )


class InputStatistics:
    """Running statistics of all elements of the inputs of one place: a split, or one side of the loop."""

    def __init__(self) -> None:
        self.rows = self.elements = self.zeros = 0
        self.total = self.squares = 0.0
        self.smallest, self.largest = math.inf, -math.inf
        self.shape: list[int] = []

    def update(self, inputs: Tensor | None) -> None:
        """Add a batch [n, …]; complex inputs, and batches without a number, are passed over."""
        self.add(summary_of(inputs))

    def add(self, batch: Summary | None) -> None:
        """Add a batch that has been summed up already."""
        if batch is None:
            return
        self.rows += batch.rows
        self.elements += batch.elements
        self.zeros += batch.zeros
        self.total += batch.total
        self.squares += batch.squares
        self.smallest, self.largest = min(self.smallest, batch.smallest), max(self.largest, batch.largest)
        self.shape = list(batch.shape)

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
