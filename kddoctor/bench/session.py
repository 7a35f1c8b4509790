"""What a running loop has in its hands: models, data, the batch, and teacher outputs that were cached before."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset


@dataclass(frozen=True)
class Batch:
    """inputs: as the student sees them, augmented. raw: as they lie in the data set. rows: their numbers there.

    number: of the batch in its epoch. step: of the batch in the run.
    """

    inputs: Tensor
    raw: Tensor
    labels: Tensor
    rows: Tensor
    number: int
    epoch: int
    step: int


@dataclass
class Session:
    """The loop's variables. notes: whatever a script keeps between steps (its own caches, hooks, projectors)."""

    teacher: nn.Module
    student: nn.Module
    train: TensorDataset
    val: TensorDataset
    batch_size: int
    seed: int
    notes: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def cached_by_row(self) -> Tensor:
        """[N, …]: the teacher's outputs on the plain training set, in its own order, in evaluation mode."""
        return torch.cat([self._outputs(rows) for rows in torch.split(torch.arange(len(self.train)), 256)])

    @cached_property
    def cached_by_batch(self) -> list[Tensor]:
        """The teacher's outputs batch by batch, collected over one pass of a loader that shuffles."""
        generator = torch.Generator().manual_seed(self.seed + 7919)
        return [self._outputs(rows) for rows in batches(len(self.train), self.batch_size, generator)]

    @torch.no_grad()
    def _outputs(self, rows: Tensor) -> Tensor:
        training = self.teacher.training
        self.teacher.eval()
        logits: Tensor = self.teacher(self.train.tensors[0][rows])
        self.teacher.train(training)
        return logits


def batches(rows: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of whole batches in a random order; the ragged last batch is left out."""
    order = torch.randperm(rows, generator=generator)
    size = min(size, rows)
    for number in range(rows // size):
        yield order[number * size : (number + 1) * size]
