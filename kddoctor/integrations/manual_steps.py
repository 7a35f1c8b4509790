"""The steps of a loop that calls ``backward()`` itself, perhaps several times and for several optimizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.run.recording.backward import Backward
from kddoctor.run.recording.pickup import Root, root_of
from kddoctor.run.recording.watch import ModelWatch


@dataclass(frozen=True)
class _Lost:
    """One backward pass from a loss that holds the student's logits. terms: how many the loop had named by then."""

    loss: Tensor
    root: Root
    terms: int

    @property
    def unscaled(self) -> Tensor:
        """The loss itself where no gradient scaler stands before it, since its graph says more than its value."""
        return self.loss if torch.equal(self.root.loss, self.loss.detach()) else self.root.loss


class ManualSteps:
    """Finds the loss of each step among the backward passes that a loop makes, until it is closed.

    A loss is the student's where its graph holds the student's logits: that of a discriminator, or of a teacher that is
    trained along, is not. hand_over: called with that loss once a step; before its backward pass, while its graph is
    whole, where the step before has shown that there is one such loss and that the loop names its terms first. terms:
    how many it has named in this step. on_error: told about whatever goes wrong, which never reaches the loop.
    """

    def __init__(
        self,
        student: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        hand_over: Callable[[Tensor], None],
        terms: Callable[[], int],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.handed_over = 0
        #: Steps with updates between two losses of the student. No one loss is theirs, and they are not handed over.
        self.apart = 0
        self._hand_over, self._terms = hand_over, terms
        self._lost: list[_Lost] = []
        self._early, self._told, self._several = False, False, False
        self._stepped, self._is_apart = False, False
        self._watch = ModelWatch(student, on_error)
        self._backward = Backward(self._take_loss, on_error)
        self._handles = [optimizer.register_step_pre_hook(self._take_update) for optimizer in optimizers]

    def begin(self) -> None:
        """A step begins."""
        self._lost, self._told, self._stepped, self._is_apart = [], False, False, False
        self._watch.forget()

    def end(self) -> None:
        """The step has ended, and every term that the loop names is known."""
        if self._is_apart:
            self.apart += 1
        elif self._lost and not self._told:
            self._tell(_total(self._lost))
        self._several = self._several or len(self._lost) > 1
        if self._lost:
            self._early = not self._several and self._lost[0].terms == self._terms()
        self._lost = []
        self._watch.forget()

    def close(self) -> None:
        self._backward.close()
        self._watch.close()
        for handle in self._handles:
            handle.remove()

    def _take_loss(self, loss: Tensor) -> None:
        root = root_of(loss, self._watch.calls)
        if not root.calls:
            return
        self._is_apart = self._is_apart or (bool(self._lost) and self._stepped)
        self._stepped = False
        self._lost.append(_Lost(loss, root, self._terms()))
        if self._early and not self._told:
            self._tell(self._lost[0].unscaled)

    def _take_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._stepped = True

    def _tell(self, loss: Tensor) -> None:
        self._told = True
        self.handed_over += 1
        self._hand_over(loss)


def _total(lost: Sequence[_Lost]) -> Tensor:
    """Losses of the very same logits add up, as their gradients do; of several batches, the last one is the step."""
    calls = lost[-1].root.calls
    same = [each for each in lost if _alike(each.root.calls, calls)]
    return same[0].unscaled if len(same) == 1 else torch.stack([each.root.loss.detach() for each in same]).sum()


def _alike(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
