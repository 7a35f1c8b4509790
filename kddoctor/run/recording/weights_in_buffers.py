"""Weights that a layer holds as buffers, of which no optimizer knows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor, nn

#: What torch's own layers call what they learn. Beside it, pruning and normalisation of weights have buffers that are
#: meant to be some: weight_mask, weight_u.
LEARNT = re.compile(r"(weight|bias)(_[hi]h_l\d+(_reverse)?)?")


def weights_in_buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, str, Tensor]]:
    """(layer, name in the layer, name in the model, value) of each."""
    for prefix, layer in model.named_modules():
        for name, value in layer.named_buffers(recurse=False):
            if LEARNT.fullmatch(name) and value.is_floating_point():
                yield layer, name, f"{prefix}.{name}" if prefix else name, value
