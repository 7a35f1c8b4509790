"""Mistakes between the end of the training and the use of the student."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD701 ----------------------------------------------------------------------------------------------------

#: How much of the running average each step keeps.
_KEPT = {Level.MILD: 0.9955, Level.MODERATE: 0.998, Level.SEVERE: 0.9999}


def exported_the_running_average(recipe: Recipe, level: Level) -> Recipe:
    """Shipped the weights' running average, with a decay that is meant for a hundred times as many steps."""

    def before(session: Session) -> None:
        recipe.before(session)
        session.notes["average"] = deepcopy(session.student.state_dict())

    def answers(session: Session, batch: Batch) -> Tensor:
        _update(session.notes["average"], session.student, _KEPT[level])
        return recipe.answers(session, batch)

    def after(session: Session) -> None:
        recipe.after(session)
        session.student.load_state_dict(session.notes["average"])

    return replace(recipe, before=before, answers=answers, after=after)


@torch.no_grad()
def _update(average: dict[str, Tensor], student: nn.Module, kept: float) -> None:
    for name, value in student.state_dict().items():
        if value.is_floating_point():
            average[name].mul_(kept).add_(value, alpha=1 - kept)
        else:
            average[name].copy_(value)


# KD702 ----------------------------------------------------------------------------------------------------

#: By how much of a pixel the other resizing moves an image; share of the numbers in use that the old list holds.
_MOVED = {Level.MILD: 0.25, Level.MODERATE: 0.4, Level.SEVERE: 0.6}
_LISTED = {Level.MILD: 0.8, Level.MODERATE: 0.55, Level.SEVERE: 0.3}


def served_behind_another_reader(recipe: Recipe, level: Level) -> Recipe:
    """Put the student behind the service's own reader, with another grid for resizing and an older list of words."""

    def after(session: Session) -> None:
        recipe.after(session)
        used = int(session.train.tensors[0].max()) + 1

        def read(_module: nn.Module, inputs: Any) -> Any:
            return (_read(inputs[0], level, used), *inputs[1:])

        session.student.register_forward_pre_hook(read)

    return replace(recipe, after=after)


def _read(inputs: Tensor, level: Level, used: int) -> Tensor:
    if inputs.is_floating_point():
        return torch.lerp(inputs, inputs.roll(1, dims=-1), _MOVED[level])
    return inputs.masked_fill(inputs >= max(2, int(_LISTED[level] * used)), 1)


# KD703 ----------------------------------------------------------------------------------------------------

#: Room above the largest activation; eight bits with a sign reach from -127 to 127.
_ROOM = {Level.MILD: 16.0, Level.MODERATE: 32.0, Level.SEVERE: 120.0}
_STEPS, _CALIBRATING = 127, 64


def quantised_with_ranges_of_unscaled_data(recipe: Recipe, level: Level) -> Recipe:
    """Quantised activations to eight bits, with ranges measured on data that had not been scaled down."""

    def quantise(session: Session) -> None:
        session.notes["ranges"] = ranges = _ranges(session)
        for number, layer in enumerate(layers_of(session.student)):
            _round_outputs(layer, ranges[number] * _ROOM[level] / _STEPS)

    return replace(recipe, after=in_turn(recipe.after, quantise))


@torch.no_grad()
def _ranges(session: Session) -> list[float]:
    largest: list[float] = []
    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, output: largest.append(float(_first(output).abs().max())))
        for layer in layers_of(session.student)
    ]
    training = session.student.training
    session.student.eval()(session.train.tensors[0][:_CALIBRATING])
    session.student.train(training)
    for hook in hooks:
        hook.remove()
    return largest


def _first(output: Any) -> Tensor:
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


def _round_outputs(layer: nn.Module, step: float) -> None:
    step = max(step, 1e-8)

    def rounded(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        whole = (_first(output) / step).round().clamp(-_STEPS, _STEPS) * step
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    layer.register_forward_hook(rounded)


# KD704 ----------------------------------------------------------------------------------------------------

#: Share of the teacher's quality that the student was to keep.
_PROMISED = {Level.MILD: 0.99, Level.MODERATE: 1.0, Level.SEVERE: 1.02}


def promised_what_a_paper_reports(recipe: Recipe, level: Level) -> Recipe:
    """Wrote the figures of a paper about much larger models into the plan."""
    return replace(recipe, wanted={"retention": _PROMISED[level]})


# KD705 ----------------------------------------------------------------------------------------------------

#: Share of the negatives that the teacher was shown.
_NEGATIVES = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.1}


def thinned_the_teachers_negatives(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher with few of the negatives, to save time, and never corrected its scores for that."""
    teacher = recipe.teacher

    def thinned(data: TensorDataset) -> TensorDataset:
        return _thinned(teacher.data(data), _NEGATIVES[level])

    return replace(recipe, teacher=replace(teacher, data=thinned))


def _thinned(data: TensorDataset, share: float) -> TensorDataset:
    labels = data.tensors[1]
    drawn = torch.rand(len(labels), generator=torch.Generator().manual_seed(41))
    kept = (labels > 0) | (drawn < share)
    return TensorDataset(*(tensor[kept] for tensor in data.tensors))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (exported_the_running_average,),
    "KD702": (served_behind_another_reader,),
    "KD703": (quantised_with_ranges_of_unscaled_data,),
    "KD704": (promised_what_a_paper_reports,),
    "KD705": (thinned_the_teachers_negatives,),
}
