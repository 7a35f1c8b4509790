"""Mistakes of the codes KD5xx."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 ----------------------------------------------------------------------------------------------------------------

#: Factor on the rate of what is called new. Adam forgives more, as its steps do not grow with the loss.
FASTER = {Level.MILD: 8.0, Level.MODERATE: 15.0, Level.SEVERE: 30.0}
FORGIVEN = 3.0
#: Share of the tensors, from the last one on, that are called new.
NEW = 0.5


def new_layers_at_many_times_the_rate(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuning gives new layers many times the rate of pretrained ones, and here it is a student of new layers."""
    factor = FASTER[level] * (1.0 if recipe.optimizer == "sgd" else FORGIVEN)

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        found = list(recipe.parameters(session))
        old = len(found) - max(1, round(NEW * len(found)))
        groups: list[Any] = [
            {"params": found[:old]},
            {"params": found[old:], "lr": recipe.learning_rate * factor},
        ]
        return groups

    return replace(recipe, parameters=parameters)


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Divisor of the epochs, and length of the warm-up in terms of the whole run.
FEWER = {Level.MILD: 3, Level.MODERATE: 5, Level.SEVERE: 8}
WARM_UP = {Level.MILD: 1.0, Level.MODERATE: 1.5, Level.SEVERE: 3.0}


def over_before_the_warm_up_is(recipe: Recipe, level: Level) -> Recipe:
    """The epochs were cut and the warm-up was not: the rate is still rising when the run ends."""
    epochs = max(2, recipe.epochs // FEWER[level])

    def factor(session: Session, batch: Batch) -> float:
        steps = epochs * max(1, len(session.train) // session.batch_size)
        return (batch.step + 1) / (WARM_UP[level] * steps)

    return replace(with_factor_on_the_rate(recipe, factor), epochs=epochs, schedule="constant")


# KD503 ----------------------------------------------------------------------------------------------------------------

#: Largest of the first weights, the smallest being zero.
LARGEST = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 3.0}


def uniform_and_never_centred(recipe: Recipe, level: Level) -> Recipe:
    """First weights from a generator of numbers between zero and one, which were scaled and never centred."""

    @torch.no_grad()
    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            if parameter.ndim > 1:
                parameter.uniform_(0.0, LARGEST[level])
        return student

    return replace(recipe, change_student=change_student)


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Share of the weights that are left out of a training pass.
LEFT_OUT = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.7}


class SomeOfTheWeights(nn.Module):
    """In training some weights, drawn anew for each pass, are zero and the others larger; all of them in use."""

    def __init__(self, left_out: float) -> None:
        super().__init__()
        self.left_out = left_out

    def forward(self, weight: Tensor) -> Tensor:
        """The weights that the layer works with."""
        return F.dropout(weight, self.left_out, self.training)


def connections_dropped_in_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """DropConnect in all layers, from a project in which a far larger network had learnt its labels by heart."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            register_parametrization(layer, "weight", SomeOfTheWeights(LEFT_OUT[level]))
        return student

    return replace(recipe, change_student=change_student)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: Product of rate and decay; above two each step throws a weight further past zero than it was away from it.
THROWN = {Level.MILD: 2.5, Level.MODERATE: 4.0, Level.SEVERE: 20.0}


def decay_divided_by_the_rate(recipe: Recipe, level: Level) -> Recipe:
    """The decay was converted for an optimizer that multiplies it by the rate, and by far too much."""
    return replace(
        recipe,
        optimizer="sgd",
        weight_decay=THROWN[level] / recipe.learning_rate,
        schedule="constant",
        clip=None,
    )


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Share of the layers, from the first one on, whose outputs are cut off from the graph.
CUT_OFF = {Level.MILD: 0.3, Level.MODERATE: 0.55, Level.SEVERE: 0.9}


def trunk_without_a_graph(recipe: Recipe, level: Level) -> Recipe:
    """The student's trunk runs without a graph, to save memory, as it did when only its head was to learn."""

    def cut_off(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> object:
        if isinstance(output, Tensor):
            return output.detach()
        return (output[0].detach(), *output[1:])

    def attach(session: Session) -> None:
        layers = layers_of(session.student)
        for layer in layers[: min(max(1, round(CUT_OFF[level] * len(layers))), len(layers) - 1)]:
            layer.register_forward_hook(cut_off)

    return replace(recipe, before=in_turn(recipe.before, attach))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (new_layers_at_many_times_the_rate,),
    "KD502": (over_before_the_warm_up_is,),
    "KD503": (uniform_and_never_centred,),
    "KD504": (connections_dropped_in_every_layer,),
    "KD505": (decay_divided_by_the_rate,),
    "KD506": (trunk_without_a_graph,),
}
