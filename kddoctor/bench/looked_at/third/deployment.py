"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Share of each tensor's rows that other processes held.
ELSEWHERE = {Level.MILD: 0.1, Level.MODERATE: 0.35, Level.SEVERE: 0.8}


def saved_by_the_first_process_alone(recipe: Recipe, level: Level) -> Recipe:
    """Each process holds some rows of every tensor and only the first one saves its own: the rest stay new ones."""

    def build(session: Session) -> None:
        session.notes["as built"] = deepcopy(session.student.state_dict())

    def export(session: Session) -> None:
        exported = {name: tensor.clone() for name, tensor in session.student.state_dict().items()}
        for name, tensor in exported.items():
            if tensor.ndim > 0:
                saved = len(tensor) - max(1, round(ELSEWHERE[level] * len(tensor)))
                tensor[saved:] = session.notes["as built"][name][saved:]
        session.student.load_state_dict(exported)

    return replace(recipe, before=in_turn(recipe.before, build), after=in_turn(recipe.after, export))


# KD702 ----------------------------------------------------------------------------------------------------------------

#: Steps into which an image's values fall, and share of the numbers of words that an integer has room for.
STEPS = {Level.MILD: 5, Level.MODERATE: 3, Level.SEVERE: 1}
ROOM = {Level.MILD: 0.7, Level.MODERATE: 0.3, Level.SEVERE: 0.06}


def cast_to_a_small_integer(recipe: Recipe, level: Level) -> Recipe:
    """The service sends integers: what lies between two values of an image is lost, and words of high number wrap."""

    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        if inputs[0].is_floating_point():
            return (STEPS[level] * inputs[0]).floor() / STEPS[level]
        return inputs[0] % max(2, round(ROOM[level] * int(inputs[0].max())))

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, serve))


# KD703 ----------------------------------------------------------------------------------------------------------------

#: Bits of an activation.
ACTIVATION_BITS = {Level.MILD: 4, Level.MODERATE: 3, Level.SEVERE: 2}
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Embedding, nn.Linear)


def activations_on_one_scale_a_batch(recipe: Recipe, level: Level) -> Recipe:
    """What each layer puts out is rounded to a few steps, on a scale that the largest value of the batch sets."""

    def rounded(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        step = output.abs().max().clamp_min(1e-12) / (2 ** (ACTIVATION_BITS[level] - 1) - 1)
        stepped: Tensor = (output / step).round() * step
        return stepped

    def quantise(session: Session) -> None:
        for layer in session.student.modules():
            if isinstance(layer, LAYERS):
                layer.register_forward_hook(rounded)

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Megabytes that there are for the student.
MEGABYTES = {Level.MILD: 0.004, Level.MODERATE: 0.002, Level.SEVERE: 0.0002}


def room_on_a_microcontroller(recipe: Recipe, level: Level) -> Recipe:
    """The student is to fit into the memory of a microcontroller, for which it was never sized."""
    return replace(recipe, wanted={"size_mb": MEGABYTES[level]})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Probability up to which a negative passes for settled.
SETTLED = {Level.MILD: 0.08, Level.MODERATE: 0.15, Level.SEVERE: 0.35}


def margin_for_easy_negatives(recipe: Recipe, level: Level) -> Recipe:
    """The asymmetric loss of a tagger with thousands of tags, in which a negative costs nothing below a margin."""

    def cost(student: Tensor, positive: Tensor) -> Tensor:
        less = (p(student)[:, 1] - SETTLED[level]).clamp_min(0.0)
        return -positive * log_p(student)[:, 1] - (1 - positive) * torch.log1p(-less)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        target = p(teacher / t)
        entropy = -(target * log_p(teacher / t)).sum(-1)
        return (cost(student / t, target[:, 1]) - entropy).mean() * t * t

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return cost(student, F.one_hot(labels, 2)[:, 1].to(student.dtype)).mean()

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (saved_by_the_first_process_alone,),
    "KD702": (cast_to_a_small_integer,),
    "KD703": (activations_on_one_scale_a_batch,),
    "KD704": (room_on_a_microcontroller,),
    "KD705": (margin_for_easy_negatives,),
}
