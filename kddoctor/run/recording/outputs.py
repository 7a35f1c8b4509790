"""Tensors out of whatever models and loops hand about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def logits_of(output: object) -> Tensor:
    """The logits in a model's output: a tensor, the first of a tuple, or the one called ``logits``.

    Raises TypeError where there is none.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and "logits" in output:
        return logits_of(output["logits"])
    if hasattr(output, "logits"):
        return logits_of(output.logits)
    if isinstance(output, list | tuple) and output:
        return logits_of(output[0])
    raise TypeError(f"a model returned {type(output).__name__}; expected a tensor, a tuple, or logits in a dict")


def tensors_in(value: object) -> Iterator[Tensor]:
    """Every tensor of a nested structure, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):  # before Mapping, which takes Python ten times as long to ask
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))


def on_device(value: Any, device: torch.device) -> Any:
    """The structure with its tensors on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: on_device(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [on_device(item, device) for item in value]
        # Named tuples take their fields one by one.
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def copied(tensor: Tensor) -> Tensor:
    """A copy in main memory that nothing else holds; half precision becomes float32."""
    copy = tensor.detach().to("cpu", copy=True).contiguous()
    return copy.float() if copy.dtype in (torch.float16, torch.bfloat16) else copy


def number_of(value: object) -> float:
    """A scalar tensor or number as a float. Raises TypeError for anything else."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise TypeError(f"expected one number, found a tensor of shape {list(value.shape)}")
        return float(value.item())
    return float(value)  # type: ignore[arg-type]  # raises the TypeError


def version(tensor: Tensor) -> int:
    """A count that moves with every in-place change of the tensor; inference tensors have none."""
    return -1 if tensor.is_inference() else int(tensor._version)


def evenly_spaced(tensor: Tensor, most: int) -> Tensor:
    """A copy of at most so many elements on the CPU, [n], from first to last."""
    flat = tensor.detach().reshape(-1)
    step = max(1, -(-flat.numel() // most))
    return flat[::step].to("cpu", copy=True)
