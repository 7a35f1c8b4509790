"""KD703: the student was sound until it was quantised."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Bits of a weight, and share of the range of activations that the calibration saw.
BITS = {Level.MILD: 3.3, Level.MODERATE: 2.8, Level.SEVERE: 2.0}
CALIBRATED = {Level.MILD: 0.9, Level.MODERATE: 0.75, Level.SEVERE: 0.3}
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Embedding, nn.Linear)


def one_scale_a_tensor(recipe: Recipe, level: Level) -> Recipe:
    """Weights to a few integer steps after training, one scale for each tensor."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for parameter in session.student.parameters():
            if parameter.ndim > 1:
                parameter.copy_(_rounded(parameter, 2 ** (BITS[level] - 1) - 1, parameter.abs().max()))

    return replace(recipe, after=in_turn(recipe.after, quantise))


def calibrated_on_one_row(recipe: Recipe, level: Level) -> Recipe:
    """Activations to eight bits, with ranges from one row that happened to be faint: larger values saturate."""

    def saturate(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        largest = layer.get_buffer("range")
        return _rounded(output, 127.0, largest).clamp(-largest, largest)

    @torch.no_grad()
    def calibrate(session: Session) -> None:
        for layer in session.student.modules():
            if isinstance(layer, LAYERS):
                layer.register_forward_hook(_measure)
        session.student.eval()(session.train.tensors[0][:1])
        for layer in session.student.modules():
            if isinstance(layer, LAYERS):
                layer.get_buffer("range").mul_(CALIBRATED[level])
                layer.register_forward_hook(saturate)

    return replace(recipe, after=in_turn(recipe.after, calibrate))


def _measure(layer: nn.Module, _inputs: object, output: Tensor) -> None:
    if "range" not in dict(layer.named_buffers()):
        layer.register_buffer("range", output.abs().max(), persistent=False)


def _rounded(values: Tensor, steps: float, largest: Tensor) -> Tensor:
    step = largest.clamp_min(1e-12) / steps
    return (values / step).round() * step


FAULT = Fault("KD703", seen=(one_scale_a_tensor,), unseen=(calibrated_on_one_row,))
