"""The process that the recorder finds itself in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from kddoctor.errors import UsageError


def is_first_process() -> bool:
    """Whether this is the process that writes: of several that train together, the first.

    Also before the processes have found each other, by the rank that their launcher gave them.
    """
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """How many processes train together."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def optimizers_in(optimizer: Any) -> list[Optimizer]:
    """Optimizers from one, several or none, out of the wrappers that trainers put round them."""
    if optimizer is None:
        return []
    several = optimizer if isinstance(optimizer, Sequence) else [optimizer]
    return [_unwrapped(each) for each in several]


def _unwrapped(optimizer: Any) -> Optimizer:
    inner = optimizer
    # Some wrappers are optimizers themselves, of which only the inner one has hooks and a state.
    while isinstance(getattr(inner, "optimizer", None), Optimizer) or (
        not isinstance(inner, Optimizer) and hasattr(inner, "optimizer")
    ):
        inner = inner.optimizer
    if not isinstance(inner, Optimizer):
        raise UsageError(f"optimizer is a {type(optimizer).__name__}; expected a torch optimizer.")
    return inner
