"""The models inside of a teacher that is several models, found by what they are given and what they return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.run.recording.outputs import copied, logits_of, tensors_in


class Members:
    """Watches one forward call of a teacher. ``answers`` holds what its members gave."""

    def __init__(self) -> None:
        self._inputs: Tensor | None = None
        self._found: dict[str, Tensor] = {}

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The teacher's own call."""
        self._inputs, self._found = next(tensors_in((args, kwargs)), None), {}

    def hear(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        """The call of a module inside: kept where it was given the teacher's own input."""
        if self._inputs is None or next(tensors_in((args, kwargs)), None) is not self._inputs:
            return
        try:
            self._found[name] = logits_of(output)
        except TypeError:
            return

    def answers(self, whole: Tensor) -> Tensor | None:
        """[M, B, …] of the outermost modules whose outputs look like the teacher's; None for fewer than two."""
        alike = {name: value for name, value in self._found.items() if value.shape == whole.shape}
        inner = {name for name in alike for other in alike if name.startswith(f"{other}.")}
        members = [copied(value) for name, value in alike.items() if name not in inner]
        return torch.stack(members) if len(members) > 1 else None


@contextmanager
def members_of(teacher: nn.Module) -> Iterator[Members]:
    """Hooks on the teacher and all that is inside of it, until the end of the block."""
    members = Members()
    begin = _Begin(members)
    handles = [teacher.register_forward_pre_hook(begin, with_kwargs=True)]
    for name, module in teacher.named_modules():
        if name:
            handles.append(module.register_forward_hook(_Hear(members, name), with_kwargs=True))
    try:
        yield members
    finally:
        for handle in handles:
            handle.remove()


class _Begin:
    def __init__(self, members: Members) -> None:
        self._members = members

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._members.begin(args, kwargs)


class _Hear:
    def __init__(self, members: Members, name: str) -> None:
        self._members, self._name = members, name

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        self._members.hear(self._name, args, kwargs, output)
