"""Which layers to keep where nobody said: the outputs of each model's stages."""

from __future__ import annotations

from torch import nn

MAX_LAYERS = 4
#: Modules that hold stages rather than being one.
_NO_STAGE = (nn.Dropout, nn.Flatten, nn.Identity)


def stages(model: nn.Module) -> list[str]:
    """Names of at most four modules, evenly spread over the depth of the model, the last before its head included.

    A stage is a child with parameters of the first module, from the outermost inwards, that has three such children or
    more. A model of fewer parts than that has none.
    """
    prefix, module = "", model
    while True:
        children = [
            (f"{prefix}{name}", child)
            for name, child in module.named_children()
            if not isinstance(child, _NO_STAGE) and any(True for _ in child.parameters())
        ]
        if len(children) >= 3:
            return _spread([name for name, _ in children[:-1]])
        inner = max(children, key=lambda item: sum(p.numel() for p in item[1].parameters()), default=None)
        if inner is None:
            return []
        prefix, module = f"{inner[0]}.", inner[1]


def _spread(names: list[str]) -> list[str]:
    if len(names) <= MAX_LAYERS:
        return names
    last = len(names) - 1
    return [names[round(i * last / (MAX_LAYERS - 1))] for i in range(MAX_LAYERS)]
