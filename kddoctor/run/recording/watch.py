"""What a model was given, and in which mode, while the user's loop ran it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.run.recording.outputs import logits_of, tensors_in, version

# By name, since drop-path and the like are written anew in every model zoo.
NOISY = ("dropout", "batchnorm", "droppath", "stochasticdepth", "instancenorm")


@dataclass
class Seen:
    """One forward call. Inputs are held and not copied; ``intact`` tells whether they still are the same."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    versions: tuple[int, ...]
    autocast: tuple[str, bool, torch.dtype]

    @property
    def intact(self) -> bool:
        return self.versions == _versions(self.args, self.kwargs)

    @property
    def inputs(self) -> Tensor | None:
        """The first tensor, which is what models are about."""
        return next(tensors_in((self.args, self.kwargs)), None)

    @property
    def rows(self) -> int | None:
        """Length of the first tensor, None where there is none."""
        inputs = self.inputs
        return len(inputs) if inputs is not None and inputs.ndim else None

    def again(self, model: nn.Module) -> Tensor:
        """The logits of the same call, made once more under the same precision."""
        device, enabled, dtype = self.autocast
        with torch.autocast(device, enabled=enabled, dtype=dtype):
            return logits_of(model(*self.args, **self.kwargs))


class ModelWatch:
    """Watches a model through a forward pre-hook until it is closed.

    seen: the last forward call since ``forget``. forwards: how many there were. trained: whether one of
    them ran in training mode. on_error: told about whatever goes wrong, which never reaches the loop.
    """

    def __init__(self, model: nn.Module, on_error: Callable[[Exception], None]) -> None:
        self.seen: Seen | None = None
        self.forwards = 0
        self.trained = False
        self.paused = False
        self._model = model
        self._on_error = on_error
        self._handle = model.register_forward_pre_hook(_Hook(self), with_kwargs=True)

    def look(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A copy of the model (a moving average, say) brings the hook along; it is not the one watched.
        if self.paused or module is not self._model or torch.compiler.is_compiling():
            return
        try:
            self.forwards += 1
            self.trained = self.trained or in_training_mode(module)
            inputs = next(tensors_in((args, kwargs)), None)
            device = inputs.device.type if inputs is not None else "cpu"
            autocast = (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            self.seen = Seen(args, dict(kwargs), _versions(args, kwargs), autocast)
        except Exception as error:
            self.seen = None
            self._on_error(error)

    def forget(self) -> None:
        self.seen = None

    def close(self) -> None:
        self._handle.remove()
        self.forget()


def in_training_mode(model: nn.Module) -> bool:
    """Whether the model, or any submodule that behaves differently in training, is in training mode."""
    return model.training or any(
        module.training and any(name in type(module).__name__.lower() for name in NOISY) for module in model.modules()
    )


def _versions(args: object, kwargs: object) -> tuple[int, ...]:
    return tuple(version(tensor) for tensor in tensors_in((args, kwargs)))


class _Hook:
    """The hook itself. Copying or pickling the model leaves a hook behind that does nothing."""

    def __init__(self, watch: ModelWatch) -> None:
        self._watch = watch

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._watch.look(module, args, kwargs)

    def __deepcopy__(self, memo: object) -> Callable[..., None]:
        return _nothing

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _without_hook, ()


def _without_hook() -> Callable[..., None]:
    return _nothing


def _nothing(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A forward pre-hook without effect."""
