"""Calling the user's models on a batch."""

from __future__ import annotations

import inspect
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.run.recording.outputs import logits_of, on_device

TIMED_FORWARDS = 7

Transform = Callable[[Any], Any]
#: From a batch of inputs to ids of its rows, by name: group_ids, item_ids.
RowIds = Callable[[Any], Mapping[str, Tensor]]


def bare(model: nn.Module) -> nn.Module:
    """The model inside wrappers: in parallel, one process alone would wait for the others; compiled, it would compile
    once more for evaluation.
    """
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def device_of(model: nn.Module) -> torch.device:
    """Where the model takes its inputs. Weights that lie elsewhere until they are needed say nothing about it; what
    fetches them moves the inputs, too.
    """
    held = (tensor.device for tensor in itertools.chain(model.parameters(), model.buffers()) if not tensor.is_meta)
    return next(held, torch.device("cpu"))


def forward(model: nn.Module, inputs: Any) -> Tensor:
    """The model's logits for a batch of inputs: a tensor, a tuple of arguments, or a dict of them."""
    inputs = on_device(inputs, device_of(model))
    if isinstance(inputs, Mapping):
        return logits_of(model(**_accepted(model, inputs)))
    if isinstance(inputs, list | tuple):
        return logits_of(model(*inputs))
    return logits_of(model(inputs))


def _accepted(model: nn.Module, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments that the model takes: a batch may hold some that are the other model's alone."""
    taken = inspect.signature(model.forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return inputs
    return {name: value for name, value in inputs.items() if name in taken}


def latency_ms(model: nn.Module, inputs: Any) -> float:
    """Median milliseconds of one forward pass of the batch, after one that warms up."""
    device = device_of(model)
    inputs = on_device(inputs, device)
    times = []
    for _ in range(TIMED_FORWARDS + 1):
        _wait_for(device)
        start = time.perf_counter()
        forward(model, inputs)
        _wait_for(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
