"""A team of processes that torch.distributed connects."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kddoctor.run.recording.calling import forward

T = TypeVar("T")
#: Fewest rows of a part: batch normalisation cannot learn from one.
FEWEST = 2


class Ranks:
    """The process group of this process. Rank 0 leads.

    Every process draws the same batches, those that one alone would draw, and takes its own part of each.
    """

    def __init__(self) -> None:
        """Once the process group is there."""
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def part(self, inputs: Any, labels: Tensor) -> tuple[Any, Tensor, float]:
        """The rank's rows, weighted so that the mean over ranks is the mean over rows.

        A batch too small to be shared out is taken whole by every rank.
        """
        rows = len(labels)
        if rows < FEWEST * self.size:
            return inputs, labels, 1.0
        start, end = (rows * rank // self.size for rank in (self.rank, self.rank + 1))
        return _rows(inputs, rows, start, end), labels[start:end], self.size * (end - start) / rows

    def joined(self, student: nn.Module, along: nn.Module | None) -> nn.Module:
        """The student in DistributedDataParallel, along with what else is trained."""
        # The graph is the same in every step, so parameters that take no part in it need not be looked for.
        return DistributedDataParallel(_Trained(student, along, self.rank), broadcast_buffers=False, static_graph=True)

    def begin_epoch(self, student: nn.Module) -> None:
        """The student's buffers become rank 0's."""
        for buffer in student.buffers():
            dist.broadcast(buffer, 0)

    def from_leader(self, made: Callable[[], T]) -> T:
        """What ``made`` gives on rank 0; elsewhere it is not called."""
        there: list[Any] = [made() if self.leads else None]
        dist.broadcast_object_list(there, 0)
        return there[0]  # type: ignore[no-any-return]


class _Trained(nn.Module):
    """All parameters that one optimizer trains. Called like the student."""

    def __init__(self, student: nn.Module, along: nn.Module | None, rank: int) -> None:
        super().__init__()
        self.student, self.along, self.rank = student, along, rank

    def forward(self, *arguments: Any, **named: Any) -> Tensor:
        if self.rank == 0:
            return forward(self.student, named or arguments)
        # All ranks draw the same numbers; dropout should not drop the same in every part of a batch.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, ())) + self.rank)
            return forward(self.student, named or arguments)


def _rows(inputs: Any, rows: int, start: int, end: int) -> Any:
    """The rows of every tensor in a batch; what has another length belongs to all of them."""
    if isinstance(inputs, Tensor):
        return inputs[start:end] if inputs.ndim and len(inputs) == rows else inputs
    if isinstance(inputs, Mapping):
        return {name: _rows(value, rows, start, end) for name, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return tuple(_rows(value, rows, start, end) for value in inputs)
    return inputs
