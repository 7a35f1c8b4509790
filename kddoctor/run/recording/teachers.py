"""The teacher as the recorder sees it: one model, several, or none beside its cached logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.errors import UsageError
from kddoctor.run.recording.calling import bare, device_of
from kddoctor.run.recording.outputs import logits_of, on_device

Teacher = nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module] | None


class MeanOfLogits(nn.Module):
    """Several teachers as one: the mean of their logits, on the device of the first. Each may lie on one of its own."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        logits = []
        for member in self.members.values():
            device = device_of(member)
            logits.append(logits_of(member(*on_device(args, device), **on_device(kwargs, device))))
        return torch.stack([each.to(logits[0].device) for each in logits]).mean(0)


@dataclass(frozen=True)
class Teachers:
    """members: the modules that the loop calls. model: what answers for all of them; None where there are none."""

    members: tuple[nn.Module, ...]
    model: nn.Module | None


def teachers_in(teacher: Teacher) -> Teachers:
    """One, several or no teachers. Raises UsageError for anything that is none."""
    if teacher is None:
        return Teachers((), None)
    if isinstance(teacher, nn.ModuleList | nn.ModuleDict):  # a list of models is no model: it cannot be called
        teacher = list(teacher.values()) if isinstance(teacher, nn.ModuleDict) else list(teacher)
    if isinstance(teacher, nn.Module):
        return Teachers((teacher,), bare(teacher))
    members = list(teacher.values()) if isinstance(teacher, Mapping) else teacher
    if not isinstance(members, Sequence) or not members or not all(isinstance(m, nn.Module) for m in members):
        raise UsageError(f"teacher is a {type(teacher).__name__}; expected a module, several modules, or None.")
    if len(members) == 1:
        return teachers_in(members[0])
    # A name in a ModuleDict may not hold a dot, and the user's may.
    return Teachers(tuple(members), MeanOfLogits({str(i): bare(member) for i, member in enumerate(members)}))
