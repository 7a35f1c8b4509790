"""Hints between named layers of two models, with projectors that are trained along with the student."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.losses import Hint
from kddoctor.run.recording.layers import find_layers
from kddoctor.run.recording.outputs import tensors_in


class Hinting(nn.Module):
    """A :class:`Hint` for each pair (teacher layer, student layer); hooks bring their activations of the last batch.

    Hooks stay on both models until ``close``. Raises UsageError for a layer that is not there.
    """

    def __init__(
        self, pairs: Sequence[tuple[str, str]], teacher: nn.Module, student: nn.Module, once: Callable[[], object]
    ) -> None:
        """once: runs both models on any one batch, so that the layers' shapes are seen."""
        super().__init__()
        find_layers({"teacher": [t for t, _ in pairs], "student": [s for _, s in pairs]}, teacher, student)
        self._seen: dict[tuple[str, str], Tensor] = {}
        self._hooks = [
            module.get_submodule(name).register_forward_hook(self._keep(model, name))
            for model, module, names in (
                ("teacher", teacher, {t for t, _ in pairs}),
                ("student", student, {s for _, s in pairs}),
            )
            for name in sorted(names)
        ]
        self._pairs = tuple(pairs)
        once()
        self.hints = nn.ModuleList(
            Hint(self._seen["student", s].shape, self._seen["teacher", t].shape) for t, s in pairs
        )

    def forward(self) -> Tensor:
        """Mean of the hints on the activations of the last batch."""
        terms = [
            hint(self._seen["student", s], self._seen["teacher", t])
            for hint, (t, s) in zip(self.hints, self._pairs, strict=True)
        ]
        return torch.stack(terms).mean()

    def close(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()

    def _keep(self, model: str, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._seen[model, name] = next(tensors_in(output))

        return hook
