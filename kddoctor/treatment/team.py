"""Those who train one student together: this process alone, or several, each with its part of every batch."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

T = TypeVar("T")


class Team(Protocol):
    """What a training asks of its team. Every process makes the same calls in the same order."""

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes files."""

    def part(self, inputs: Any, labels: Tensor) -> tuple[Any, Tensor, float]:
        """This process's rows of a batch, and the weight of their mean in the mean over all."""

    def joined(self, student: nn.Module, along: nn.Module | None) -> nn.Module:
        """The student, whose gradients and those of what is trained along with it are the mean over the team."""

    def begin_epoch(self, student: nn.Module) -> None:
        """The student's buffers become the leader's."""

    def from_leader(self, made: Callable[[], T]) -> T:
        """What the leader makes, for everybody."""


class Alone:
    """One process, which has nobody to agree with."""

    leads = True

    def part(self, inputs: Any, labels: Tensor) -> tuple[Any, Tensor, float]:
        """The whole batch."""
        return inputs, labels, 1.0

    def joined(self, student: nn.Module, along: nn.Module | None) -> nn.Module:
        """The student itself."""
        return student

    def begin_epoch(self, student: nn.Module) -> None:
        """Nothing to do."""

    def from_leader(self, made: Callable[[], T]) -> T:
        """Its own."""
        return made()


ALONE = Alone()
