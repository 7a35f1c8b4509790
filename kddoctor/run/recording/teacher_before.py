"""The teacher's weights before it taught, for a run in which they do not stay what they were."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class TeacherBefore:
    """Keeps them in an unnamed file, which takes no memory and is gone with the process."""

    def __init__(self, teacher: nn.Module) -> None:
        """teacher: one whose weights are offloaded has none to keep."""
        before = weights_of(teacher)
        self._file = None if before is None else tempfile.TemporaryFile()  # noqa: SIM115 (open until the end)
        if self._file is not None:
            weakref.finalize(self, self._file.close)
            torch.save(before, self._file)

    def where_changed(self, now: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """The weights before it taught; None where they are still what they were. now: those of the same teacher."""
        if self._file is None:
            return None
        self._file.seek(0)
        before: dict[str, Tensor] = torch.load(self._file, map_location="cpu", weights_only=True)
        same = before.keys() == now.keys() and all(torch.equal(before[name], now[name].cpu()) for name in before)
        return None if same else before


def weights_of(model: nn.Module) -> dict[str, Tensor] | None:
    """The tensors of a model's state dict; None for a model whose weights are offloaded, and not there to be kept."""
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    return None if any(value.is_meta for value in state.values()) else state
