"""Is the student that is evaluated the one that the training ended with?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.outputs import version

#: Parameters looked at after each step; a checkpoint that is loaded changes all of them.
MAX_PARAMETERS = 64
#: A single logit above this says yes.
YES = 0.0


class StudentAfterTraining:
    """Remembers, at each optimizer step, which values the student's parameters had: their versions, not copies."""

    def __init__(self, student: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        self._named = list(student.named_parameters())[:MAX_PARAMETERS]
        self._student = student
        self._seen: list[tuple[int, int]] | None = None
        self._handles = [optimizer.register_step_post_hook(self._after_step) for optimizer in optimizers]

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._seen = [_mark(parameter) for _, parameter in self._named]

    def observations(self) -> dict[str, Any]:
        """Keys of observations.json about the student as it is now. Call it before the models are run again."""
        facts: dict[str, Any] = {
            "student_dtypes": sorted({str(p.dtype) for _, p in self._named}),
            "student_dropout": _largest_dropout(self._student),
        }
        if self._seen is not None:
            now = dict(self._student.named_parameters())
            facts["parameters_changed_after_training"] = [
                name
                for (name, _), seen in zip(self._named, self._seen, strict=True)
                if name not in now or _mark(now[name]) != seen
            ]
        return facts

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def compared(then: Tensor, now: Tensor, labels: Tensor) -> dict[str, float] | None:
    """The student's answers to one training batch, at its last step and after training.

    Logits [B, C], [B, L, C] or [B]. agreement: share of equal choices. accuracy_then, accuracy_after: shares that are
    right, where labels name one class. relative_difference: mean absolute change over mean absolute value.
    """
    if then.shape != now.shape or not (torch.isfinite(then).all() and torch.isfinite(now).all()):
        return None
    # Scores of yes or no have the shape of their labels; choices have one axis more.
    chooses = then.ndim == labels.ndim + 1
    before, after = (logits.argmax(-1) if chooses else (logits > YES).long() for logits in (then, now))
    truth = labels.reshape(before.shape) if labels.numel() == before.numel() else None
    counts = torch.ones_like(before, dtype=torch.bool) if truth is None else truth != IGNORED
    if not counts.any():
        return None
    facts = {
        "agreement": float((before == after)[counts].double().mean()),
        "relative_difference": float((then - now).abs().mean() / then.abs().mean().clamp_min(1e-12)),
    }
    if truth is not None:
        facts["accuracy_then"] = float((before == truth)[counts].double().mean())
        facts["accuracy_after"] = float((after == truth)[counts].double().mean())
    return facts


def _mark(parameter: Tensor) -> tuple[int, int]:
    return parameter.data_ptr(), version(parameter)


def _largest_dropout(student: nn.Module) -> float:
    rates = [getattr(m, "p", 0.0) for m in student.modules() if "dropout" in type(m).__name__.lower()]
    return max((float(rate) for rate in rates if isinstance(rate, float | int)), default=0.0)
