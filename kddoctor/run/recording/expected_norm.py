"""The gradient that a step's loss has, beside the one that the optimizer got for it."""

from __future__ import annotations

from typing import Any

from torch import nn

from kddoctor.run.recording.graph import expected_gradient_norm
from kddoctor.run.recording.steps import Step


class ExpectedNorm:
    """Puts ``expected_grad_norm`` into a step, and ``grad_norm`` once the optimizer steps.

    Where gradients of several steps are accumulated for one update, the two are about different losses, and neither is
    kept.
    """

    def __init__(self, student: nn.Module) -> None:
        self._student = student
        self._awaiting: Step | None = None
        self._since_update = 0

    @property
    def awaits(self) -> bool:
        return self._awaiting is not None

    def count(self) -> None:
        """A step of the loop, before ``ask``."""
        self._since_update += 1

    def ask(self, step: Step, loss: Any) -> None:
        """Record what gradient this loss has, and wait for the optimizer."""
        self._forget()
        expected = expected_gradient_norm(loss, self._student)
        if expected is not None:
            step["expected_grad_norm"] = expected
            self._awaiting = step

    def take(self, norm: float) -> None:
        """What the optimizer got."""
        if self._awaiting is not None and self._since_update == 1:
            self._awaiting["grad_norm"] = norm
            self._awaiting = None
        self._forget()

    def updated(self) -> None:
        self._since_update = 0

    def _forget(self) -> None:
        if self._awaiting is not None:
            self._awaiting.pop("expected_grad_norm", None)
            self._awaiting = None
