"""The student's weights as its layers use them: quantised, pruned or normalised on the way, where they are."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

#: What torch.nn.utils.prune calls a parameter whose masked version takes its name.
BEFORE_PRUNING = "_orig"


@torch.no_grad()
def weights_in_use(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(name, value) of every matrix and kernel with values, one at a time.

    Parametrizations are run for it: call it within ``undisturbed``.
    """
    for prefix, layer in model.named_modules():
        if isinstance(layer, parametrize.ParametrizationList):
            continue
        for name in _names(layer):
            value = getattr(layer, name)
            if isinstance(value, Tensor) and value.ndim > 1 and value.is_floating_point() and not value.is_meta:
                yield f"{prefix}.{name}" if prefix else name, value.detach()


def _names(layer: nn.Module) -> Iterator[str]:
    if parametrize.is_parametrized(layer):
        yield from layer.parametrizations  # type: ignore[misc]
    for name, _ in layer.named_parameters(recurse=False):
        plain = name.removesuffix(BEFORE_PRUNING)
        yield plain if hasattr(layer, plain) else name
