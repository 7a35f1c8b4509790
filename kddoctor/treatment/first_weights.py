"""A new student's weights, where what its own code did to them is what has to be mended."""

import torch
from torch import nn

from kddoctor.run.recording.weights_in_buffers import weights_in_buffers


@torch.no_grad()
def reset_weights(student: nn.Module) -> None:
    """Fill every layer as its own class does when it is made.

    Embeddings have a standard deviation of 1 there, whatever their width, from which products of them are large; as in
    transformers (Vaswani et al. 2017, arXiv:1706.03762), a vector has the length 1 here.
    """
    for layer in student.modules():
        reset = getattr(layer, "reset_parameters", None)
        if callable(reset):
            reset()
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            layer.weight.mul_(layer.embedding_dim**-0.5)


def unfreeze(student: nn.Module) -> None:
    """Let every weight learn, also one that its layer holds as a buffer, of which an optimizer does not know."""
    for layer, name, _, value in list(weights_in_buffers(student)):
        delattr(layer, name)
        layer.register_parameter(name, nn.Parameter(value))
    student.requires_grad_(True)
