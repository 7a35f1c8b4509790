"""Whether the loss is given the targets of the step before, although the batch is another one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kddoctor.run.recording.row_hash import row_hashes

#: Values of the targets, and rows of the inputs, that stand for the whole step.
VALUES, ROWS = 256, 8


class RepeatedTargets:
    """Compares some steps with those after them. compared: pairs of steps with other inputs. same: of equal targets."""

    def __init__(self) -> None:
        self.compared, self.same = 0, 0
        self._before: tuple[Tensor, Tensor] | None = None

    def compare(self, targets: Tensor, inputs: Tensor | None) -> None:
        """With the step before, where that one was kept."""
        before, self._before = self._before, None
        now = None if before is None else _digest(targets, inputs)
        if before is None or now is None or before[1].shape != now[1].shape or bool((before[1] == now[1]).any()):
            return
        self.compared += 1
        self.same += before[0].shape == now[0].shape and bool(torch.equal(before[0], now[0]))

    def keep(self, targets: Tensor, inputs: Tensor | None) -> None:
        """This step [B, …] for the next one. Rows that are all alike, as of a teacher that is constant, say nothing."""
        alike = len(targets) < 2 or bool((targets[1:ROWS] == targets[:1]).all())
        self._before = None if alike else _digest(targets, inputs)

    def facts(self) -> dict[str, int] | None:
        return {"compared": self.compared, "same": self.same} if self.compared else None

    def state_dict(self) -> dict[str, Any]:
        return {"compared": self.compared, "same": self.same}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.compared, self.same = state["compared"], state["same"]


def _digest(targets: Tensor, inputs: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Some values of the targets, of all rows, and hashes of the first inputs; None where there are no inputs."""
    if inputs is None or inputs.ndim == 0 or not len(inputs) or not targets.numel():
        return None
    values = targets.detach().reshape(-1)
    return values[:: max(1, len(values) // VALUES)].clone(), row_hashes(inputs[:ROWS])
