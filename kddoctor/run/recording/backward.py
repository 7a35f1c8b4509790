"""What the loop calls backward() on, for loops that do not hand their loss to step()."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Backward:
    """Sees the scalar that each backward pass starts from, just before it runs, until it is closed.

    ``Tensor.backward`` looks torch.autograd.backward up at each call; it is wrapped here by a function that takes note
    and calls the original with the same arguments. on_root: called with the loss while its graph is whole.
    """

    def __init__(self, on_root: Callable[[Tensor], None], on_error: Callable[[Exception], None]) -> None:
        self._on_root, self._on_error = on_root, on_error
        self._open = True
        self._original = torch.autograd.backward
        self._wrapper = self._backward  # one object, to be known again
        torch.autograd.backward = self._wrapper

    def _backward(self, tensors: Any, *args: Any, **kwargs: Any) -> None:
        if self._open:
            try:
                root = tensors[0] if isinstance(tensors, list | tuple) and len(tensors) == 1 else tensors
                if isinstance(root, Tensor) and root.numel() == 1 and root.grad_fn is not None:
                    self._on_root(root)
            except Exception as error:
                self._on_error(error)
        self._original(tensors, *args, **kwargs)

    def close(self) -> None:
        self._open = False
        # Somebody may have wrapped it since; then ours stays below theirs, and only passes calls on.
        if torch.autograd.backward is self._wrapper:
            torch.autograd.backward = self._original
