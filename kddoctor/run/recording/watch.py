"""What a model was given, in which mode, and what it answered, while the user's loop ran it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.run.recording.outputs import logits_of, tensors_in, version

# By name, since drop-path and the like are written anew in every model zoo.
DROPOUT = "dropout"
NOISY = (DROPOUT, "batchnorm", "droppath", "stochasticdepth", "instancenorm")
#: Calls remembered between two steps: views, micro-batches. Of calls without gradients, which evaluate, the last alone.
MAX_CALLS = 4


class Seen:
    """One forward call, made as it is about to run. Inputs are held and not copied; ``intact`` tells whether they still
    are the same.

    tensors: those it was given. logits: what it answered, graph and all; None where that was no logits.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs = args, kwargs
        self.logits: Tensor | None = None
        # One is made in every call of both models: the commonest arguments, a single tensor, are not searched.
        alone = len(args) == 1 and isinstance(args[0], Tensor) and not kwargs
        self.tensors: tuple[Tensor, ...] = args if alone else tuple(tensors_in((args, kwargs)))
        self._versions = tuple(map(version, self.tensors))
        device = self.tensors[0].device.type if self.tensors else "cpu"
        self.autocast = (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))

    @property
    def intact(self) -> bool:
        return self._versions == tuple(map(version, self.tensors))

    @property
    def inputs(self) -> Tensor | None:
        """The first tensor, which is what models are about."""
        return self.tensors[0] if self.tensors else None

    @property
    def rows(self) -> int | None:
        """Length of the first tensor, None where there is none."""
        inputs = self.inputs
        return len(inputs) if inputs is not None and inputs.ndim else None

    @property
    def learns(self) -> bool:
        """Whether a loss of its answer can reach the model."""
        return self.logits is not None and self.logits.requires_grad

    def without_graph(self) -> Seen:
        """The same call, holding none of the memory that the backward pass would free."""
        if self.logits is None or not self.logits.requires_grad:
            return self
        same = object.__new__(Seen)  # copy() takes ten times as long
        same.__dict__.update(self.__dict__)
        same.logits = self.logits.detach()
        return same

    def again(self, model: nn.Module, transform: Callable[[Any], Any] | None = None) -> Tensor:
        """The logits of the same call, or of its transformed inputs, made once more under the same precision."""
        device, enabled, dtype = self.autocast
        args, kwargs = (self.args, self.kwargs) if transform is None else ((transform(self.inputs),), {})
        with torch.autocast(device, enabled=enabled, dtype=dtype):
            return logits_of(model(*args, **kwargs))


class ModelWatch:
    """Watches a model through forward hooks until it is closed.

    calls: the last forward calls since ``forget``; those that a backward pass makes again (gradient checkpointing) are
    none. forwards: how many there were. trained: whether one of them ran in training mode. beyond_dropout: whether
    anything but dropout layers was in training mode then. on_error: told about whatever goes wrong, which never
    reaches the loop.
    """

    def __init__(self, model: nn.Module, on_error: Callable[[Exception], None]) -> None:
        self.calls: list[Seen] = []
        self.forwards = 0
        self.trained = False
        self.beyond_dropout = False
        self.paused = False
        self.model = model
        self._noisy: list[nn.Module] | None = None
        self._on_error = on_error
        self._handles = [
            model.register_forward_pre_hook(_Hook(self, "look"), with_kwargs=True),
            model.register_forward_hook(_Hook(self, "hear")),
        ]

    @property
    def seen(self) -> Seen | None:
        return self.calls[-1] if self.calls else None

    def look(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._aside(module):
            return
        try:
            self.forwards += 1
            if not self.beyond_dropout and self._in_training_mode(module):
                self.trained = True
                self.beyond_dropout = any(m.training and DROPOUT not in _kind(m) for m in module.modules())
            self._remember(Seen(args, dict(kwargs)))
        except Exception as error:
            self.forget()
            self._on_error(error)

    def hear(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._aside(module) or not self.calls:
            return
        try:
            self.calls[-1].logits = logits_of(output)
        except TypeError:  # no logits, such as of a model that returns its loss alone: step() is given them then
            self.calls[-1].logits = None

    def forget(self) -> None:
        self.calls = []

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self.forget()

    def _aside(self, module: nn.Module) -> bool:
        # A copy of the model (a moving average, say) brings the hook along; it is not the one watched.
        other = self.paused or module is not self.model or torch.compiler.is_compiling()
        return other or in_backward()

    def _in_training_mode(self, model: nn.Module) -> bool:
        """Whether the model, or any submodule that behaves differently in training, is in training mode."""
        if self._noisy is None:
            self._noisy = [m for m in model.modules() if any(name in _kind(m) for name in NOISY)]
        return model.training or any(module.training for module in self._noisy)

    def _remember(self, call: Seen) -> None:
        kept = self.calls
        if not torch.is_grad_enabled() and any(seen.learns for seen in kept):
            kept = [seen for seen in kept if seen.learns]
        self.calls = [*kept[1 - MAX_CALLS :], call]


def _kind(module: nn.Module) -> str:
    return type(module).__name__.lower()


def in_backward() -> bool:
    """Whether a backward pass is running, which calls modules again where activations are checkpointed."""
    return torch._C._current_graph_task_id() != -1


class _Hook:
    """The hook itself. Copying or pickling the model leaves a hook behind that does nothing."""

    def __init__(self, watch: ModelWatch, what: str) -> None:
        self._call = getattr(watch, what)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], last: Any) -> None:
        self._call(module, args, last)

    def __deepcopy__(self, memo: object) -> Callable[..., None]:
        return _nothing

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _without_hook, ()


def _without_hook() -> Callable[..., None]:
    return _nothing


def _nothing(module: nn.Module, args: tuple[Any, ...], last: Any) -> None:
    """A forward hook without effect."""
