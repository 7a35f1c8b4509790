"""Running models once more without anybody noticing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kddoctor.run.recording.outputs import version


@contextmanager
def undisturbed(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards everything is as it was.

    Restored: the mode of every submodule, buffers that a forward pass changed, and the random states of
    torch, its devices, numpy and Python.
    """
    states = random_states()
    # The flag is set directly: models override train() and eval(), and may do work there (merge weights).
    modes = [(module, module.training) for model in models for module in model.modules()]
    buffers = [_Buffer(module, name) for module, _ in modes for name in module._buffers]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer in buffers:
            buffer.restore()
        restore_random_states(states)


class _Buffer:
    """One buffer's value. It is put back only where it changed.

    Writing an unchanged value would raise the tensor's version, and with it an error in a backward pass
    that still needs the tensor.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name = module, name
        self.tensor = module._buffers[name]
        self.version = -1 if self.tensor is None else version(self.tensor)
        self.value: Tensor | None = None if self.tensor is None else self.tensor.detach().clone()

    def restore(self) -> None:
        if self.tensor is None or self.value is None:
            self.module._buffers[self.name] = self.tensor
            return
        if version(self.tensor) != self.version:
            with torch.no_grad():
                self.tensor.copy_(self.value)
        if self.module._buffers.get(self.name) is not self.tensor:
            self.module._buffers[self.name] = self.tensor


def random_states() -> dict[str, Any]:
    """Those of torch, its devices, numpy and Python."""
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])
