"""Did the teacher change while it taught?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kddoctor.run.recording.outputs import evenly_spaced

# Enough to see any change of a tensor; a copy of a whole language model would not fit beside it.
MAX_ELEMENTS = 1 << 20


class Drift:
    """Remembers a model's parameters and floating buffers, up to a million evenly spaced elements of each. Weights that
    are offloaded between calls have no value to remember.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.before = {name: evenly_spaced(tensor, MAX_ELEMENTS) for name, tensor in _floating(model)}

    def largest(self) -> float | None:
        """The largest ||after - before|| / ||before|| of any one tensor; NaN where one became NaN; None where not all
        tensors have values.
        """
        if any(tensor.is_meta for tensor in (*self._model.parameters(), *self._model.buffers())):
            return None
        changes = [0.0]
        for name, tensor in _floating(self._model):
            before, after = self.before.get(name), evenly_spaced(tensor, MAX_ELEMENTS)
            if before is None or before.shape != after.shape:
                continue
            before, after = before.double(), after.double()
            change = torch.linalg.vector_norm(after - before)
            # A tensor that was zero has no scale of its own: its change is then total.
            scale = torch.linalg.vector_norm(before) or torch.linalg.vector_norm(after)
            changes.append(float(change / scale) if change != 0 else 0.0)
        return float(torch.tensor(changes, dtype=torch.float64).max())


def _floating(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and not tensor.is_meta:
            yield name, tensor
