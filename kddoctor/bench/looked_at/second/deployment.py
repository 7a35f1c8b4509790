"""Mistakes of the codes KD7xx."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Steps that the average looks back, in terms of all of the run's, and share of the tensors in the older part.
LOOKS_BACK = {Level.MILD: 0.3, Level.MODERATE: 1.0, Level.SEVERE: 20.0}
OLDER = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.8}


def average_that_lags(recipe: Recipe, level: Level) -> Recipe:
    """A moving average of the weights is exported, with the decay of a far longer run: mostly the first weights."""

    def start(session: Session) -> None:
        session.notes["average"] = deepcopy(session.student.state_dict())

    def answers(session: Session, batch: Batch) -> Tensor:
        steps = recipe.epochs * max(1, len(session.train) // session.batch_size)
        weight = 1 / (1 + LOOKS_BACK[level] * steps)
        for name, value in session.student.state_dict().items():
            kept = session.notes["average"][name]
            if value.is_floating_point():
                kept.lerp_(value, weight)
            else:
                kept.copy_(value)
        return recipe.answers(session, batch)

    def export(session: Session) -> None:
        session.student.load_state_dict(session.notes["average"])

    return replace(
        recipe,
        before=in_turn(recipe.before, start),
        answers=answers,
        after=in_turn(recipe.after, export),
    )


def part_of_an_earlier_save(recipe: Recipe, level: Level) -> Recipe:
    """A checkpoint of two files, of which the one with the last tensors was not overwritten since the first epoch."""

    def save(session: Session) -> None:
        epoch = session.notes["saved"] = session.notes.get("saved", -1) + 1
        if epoch <= 1:
            session.notes["earlier"] = deepcopy(session.student.state_dict())

    def merge(session: Session) -> None:
        names = list(session.notes["earlier"])
        older = names[-max(1, round(OLDER[level] * len(names))) :]
        session.student.load_state_dict({name: session.notes["earlier"][name] for name in older}, strict=False)

    return replace(
        recipe,
        before_epoch=in_turn(recipe.before_epoch, save),
        after=in_turn(recipe.after, merge),
    )


# KD702 ----------------------------------------------------------------------------------------------------------------

#: Share of a row that lies before the place where the reading begins.
BEFORE = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}
#: Factor of an image's values before they are clipped, and share of the vocabulary whose numbers are one too low.
BRIGHTER = {Level.MILD: 2.0, Level.MODERATE: 4.0, Level.SEVERE: 16.0}
TOO_LOW = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.95}


def read_from_an_offset(recipe: Recipe, level: Level) -> Recipe:
    """The service crops at another place: the left part of an image or a text is gone, and its end is empty."""

    def prepared(inputs: Tensor) -> Tensor:
        gone = max(1, round(BEFORE[level] * inputs.shape[-1]))
        return torch.cat([inputs[..., gone:], torch.zeros_like(inputs[..., :gone])], dim=-1)

    return _served(recipe, prepared)


def numbers_of_another_range(recipe: Recipe, level: Level) -> Recipe:
    """The service overexposes images until they clip, and counts its words from one less than the training did."""

    def prepared(inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            return (BRIGHTER[level] * inputs).clamp_max(inputs.max())
        moved = inputs >= (1 - TOO_LOW[level]) * inputs.max()
        return torch.where(moved & (inputs > 0), inputs - 1, inputs)

    return _served(recipe, prepared)


def _served(recipe: Recipe, prepared: Callable[[Tensor], Tensor]) -> Recipe:
    """The recipe whose student, once trained, is called through a pipeline."""

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(lambda _student, inputs: prepared(inputs[0]))

    return replace(recipe, after=in_turn(recipe.after, serve))


# KD703 ----------------------------------------------------------------------------------------------------------------

#: Bits of a weight, and share of the range of a layer's output that the accumulator has room for.
BITS = {Level.MILD: 4.0, Level.MODERATE: 3.3, Level.SEVERE: 2.5}
ROOM = {Level.MILD: 0.8, Level.MODERATE: 0.65, Level.SEVERE: 0.35}
#: Rows on which ranges are measured, and the layers that are quantised.
MEASURED = 256
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Embedding, nn.Linear)


def one_scale_for_the_model(recipe: Recipe, level: Level) -> Recipe:
    """One scale for all tensors, taken from the largest weight of the whole model."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        largest = max(float(parameter.abs().max()) for parameter in session.student.parameters())
        step = largest / (2 ** (BITS[level] - 1) - 1)
        for parameter in session.student.parameters():
            parameter.copy_((parameter / step).round() * step)

    return replace(recipe, after=in_turn(recipe.after, quantise))


def overflow_wraps_around(recipe: Recipe, level: Level) -> Recipe:
    """Eight bits a sum that do not saturate: what is too large for them comes out on the other side of zero."""

    def wrap(room: float, _layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        step = max(room, 1e-12) / 128
        return (((output / step).round() + 128) % 256 - 128) * step

    @torch.no_grad()
    def quantise(session: Session) -> None:
        layers = [module for module in session.student.modules() if isinstance(module, LAYERS)]
        largest = dict.fromkeys(range(len(layers)), 0.0)

        def measure(number: int, _layer: nn.Module, _inputs: object, output: Tensor) -> None:
            largest[number] = max(largest[number], float(output.abs().max()))

        hooks = [layer.register_forward_hook(partial(measure, number)) for number, layer in enumerate(layers)]
        session.student.eval()(session.train.tensors[0][:MEASURED])
        for number, (layer, hook) in enumerate(zip(layers, hooks, strict=True)):
            hook.remove()
            layer.register_forward_hook(partial(wrap, ROOM[level] * largest[number]))

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Milliseconds that a batch may take.
ALLOWED_MS = {Level.MILD: 0.02, Level.MODERATE: 0.01, Level.SEVERE: 0.001}


def latency_of_another_device(recipe: Recipe, level: Level) -> Recipe:
    """The time that a batch may take was measured on an accelerator, and the student runs on a processor."""
    return replace(recipe, wanted={"latency_ms": ALLOWED_MS[level]})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Of how many negatives one was kept, as the correction has it.
KEPT_ONE_IN = {Level.MILD: 3.0, Level.MODERATE: 6.0, Level.SEVERE: 20.0}


def correction_in_training_alone(recipe: Recipe, level: Level) -> Recipe:
    """The correction for sampled negatives is added to the student's score in the loop, and not where it is used."""

    def answers(session: Session, batch: Batch) -> Tensor:
        return recipe.answers(session, batch) + torch.tensor(KEPT_ONE_IN[level]).log()

    return replace(recipe, answers=answers)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (average_that_lags, part_of_an_earlier_save),
    "KD702": (read_from_an_offset, numbers_of_another_range),
    "KD703": (one_scale_for_the_model, overflow_wraps_around),
    "KD704": (latency_of_another_device,),
    "KD705": (correction_in_training_alone,),
}
