"""The layers of a model that people mean when they say "every layer"."""

from torch import nn

#: With a weight of their own, and those that read a sequence besides.
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Embedding, nn.Linear)
LAYERS = (*WEIGHTED, nn.GRU, nn.LSTM)


def weighted(model: nn.Module) -> list[nn.Module]:
    """Layers with a weight, in order."""
    return [module for module in model.modules() if isinstance(module, WEIGHTED)]


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Layers with a weight or a state, in order."""
    return [module for module in model.modules() if isinstance(module, LAYERS)]
