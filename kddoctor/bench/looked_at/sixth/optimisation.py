"""Mistakes of the codes KD5xx."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from math import cos, pi

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.layers import layers_of
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 ----------------------------------------------------------------------------------------------------------------

#: Divisor of the rate at the start of the cycle, and share of its steps in which the rate rises.
DIVISOR = {Level.MILD: 10.0, Level.MODERATE: 25.0, Level.SEVERE: 200.0}
RISES = 0.3


def one_cycle_stepped_by_epoch(recipe: Recipe, level: Level) -> Recipe:
    """One cycle of the rate, laid out for all steps, moves on once an epoch: it never leaves its beginning."""

    def factor(session: Session, batch: Batch) -> float:
        steps = recipe.epochs * max(1, len(session.train) // session.batch_size)
        risen = 0.5 * (1 - cos(pi * min(1.0, batch.epoch / (RISES * steps))))
        return (1 + (DIVISOR[level] - 1) * risen) / DIVISOR[level]

    return replace(with_factor_on_the_rate(recipe, factor), schedule="constant")


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Share of the epochs in which the whole student learns.
WHOLE = {Level.MILD: 0.2, Level.MODERATE: 0.1, Level.SEVERE: 0.04}


def head_first_for_nearly_all_epochs(recipe: Recipe, level: Level) -> Recipe:
    """The head learns first, for as many epochs as in a far longer run: hardly any are left for the whole student."""
    alone = recipe.epochs - max(1, round(WHOLE[level] * recipe.epochs))

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        epoch = session.notes["epochs begun"] = session.notes.get("epochs begun", -1) + 1
        session.student.requires_grad_(epoch >= alone)
        layers_of(session.student)[-1].requires_grad_(True)

    return replace(recipe, before_epoch=before_epoch, schedule="constant")


# KD503 ----------------------------------------------------------------------------------------------------------------

#: Units of a layer that are not copies, as a share of all.
ORIGINALS = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.05}


def widened_without_noise(recipe: Recipe, level: Level) -> Recipe:
    """The student begins as a widened copy of a thin one, without the noise by which copies of a unit come apart."""

    @torch.no_grad()
    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        *below, _head = layers_of(student)
        for layer in below:
            _repeat_units(layer, ORIGINALS[level])
        for layer in layers_of(student)[1:]:
            _read_copies_alike(layer, ORIGINALS[level])
        return student

    return replace(recipe, change_student=change_student)


def _copies(units: int, share: float) -> Tensor:
    """[units] the original that each unit is a copy of."""
    return torch.arange(units) % max(1, round(share * units))


def _repeat_units(layer: nn.Module, share: float) -> None:
    for parameter in layer.parameters():
        axis = 1 if isinstance(layer, nn.Embedding) else 0
        parameter.copy_(parameter.index_select(axis, _copies(parameter.shape[axis], share)))


def _read_copies_alike(layer: nn.Module, share: float) -> None:
    if not isinstance(layer, nn.Embedding):
        weight = layer.get_parameter("weight")
        weight.copy_(weight.index_select(1, _copies(weight.shape[1], share)))


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Deviation of the factor on each value.
DEVIATION = {Level.MILD: 0.5, Level.MODERATE: 1.2, Level.SEVERE: 3.0}


def gaussian_dropout_after_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """Gaussian dropout after every layer but the head, as strong as a far larger network without a teacher needs it."""

    def disturb(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return output * (1 + DEVIATION[level] * torch.randn_like(output)) if layer.training else output

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in layers_of(student)[:-1]:
            if not isinstance(layer, (nn.GRU, nn.LSTM)):
                layer.register_forward_hook(disturb)
        return student

    return replace(recipe, change_student=change_student)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: What is added to each weight at a step, as a share of it.
ADDED = {Level.MILD: 0.02, Level.MODERATE: 0.05, Level.SEVERE: 0.15}


def decay_with_the_wrong_sign(recipe: Recipe, level: Level) -> Recipe:
    """The weight decay, written by hand, adds a share of each weight where it was to take it off."""

    @torch.no_grad()
    def decay(session: Session) -> None:
        for parameter in session.student.parameters():
            parameter.add_(parameter, alpha=ADDED[level])

    def answers(session: Session, batch: Batch) -> Tensor:
        decay(session)
        return recipe.answers(session, batch)

    return replace(recipe, answers=answers, clip=None)


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Tensors at which a summary looked, as a share of all.
LOOKED_AT = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def generator_begun_by_a_summary(recipe: Recipe, level: Level) -> Recipe:
    """parameters() gives a generator, and a summary took the first tensors out: the optimizer gets the rest."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        count = len(list(recipe.parameters(session)))
        generator = iter(recipe.parameters(session))
        session.notes["summary"] = [
            tuple(tensor.shape) for tensor in islice(generator, min(count - 1, max(1, round(LOOKED_AT[level] * count))))
        ]
        return generator

    return replace(recipe, parameters=parameters)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (one_cycle_stepped_by_epoch,),
    "KD502": (head_first_for_nearly_all_epochs,),
    "KD503": (widened_without_noise,),
    "KD504": (gaussian_dropout_after_every_layer,),
    "KD505": (decay_with_the_wrong_sign,),
    "KD506": (generator_begun_by_a_summary,),
}
