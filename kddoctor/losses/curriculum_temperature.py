"""A temperature that is learned against the student, harder and harder as training goes on."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.losses.divergences import kd


class CurriculumTemperature(nn.Module):
    """KD at a temperature that gradient ascent makes hard for the student. Li et al. 2023 (CTKD).

    T = lowest + span σ(θ), one θ for all examples. Its gradient is turned round and scaled by λ, which rises from 0
    to 1 as a cosine over the first ``rising`` share of training. Give its parameters to the student's optimizer.
    """

    def __init__(self, *, lowest: float = 1.0, span: float = 20.0, start: float = 4.0, rising: float = 0.05) -> None:
        """start: the first temperature. Raises ValueError where it is not inside (lowest, lowest + span)."""
        super().__init__()
        if not lowest < start < lowest + span:
            raise ValueError(f"start is {start}; expected a temperature between {lowest} and {lowest + span}")
        share = (start - lowest) / span
        self.theta = nn.Parameter(torch.tensor(math.log(share / (1 - share))))
        self.lowest, self.span, self.rising = lowest, span, rising

    @property
    def temperature(self) -> Tensor:
        """The present one, a scalar with a gradient."""
        return self.lowest + self.span * torch.sigmoid(self.theta)

    def strength(self, done: float) -> float:
        """λ after the share ``done`` of training, 0 to 1."""
        return 0.5 * (1 - math.cos(math.pi * min(1.0, max(0.0, done) / self.rising)))

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, done: float) -> Tensor:
        """student_logits, teacher_logits: [..., C]. done: share of training that is over."""
        reversed_temperature: Tensor = _Reversed.apply(self.temperature, self.strength(done))  # type: ignore[no-untyped-call]
        return kd(student_logits, teacher_logits, temperature=reversed_temperature)


class _Reversed(torch.autograd.Function):
    """Identity whose gradient is multiplied by −λ. Ganin and Lempitsky 2015."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None
