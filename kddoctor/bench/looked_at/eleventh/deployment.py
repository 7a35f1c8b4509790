"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Decay of the moving average at each step.
DECAY = {Level.MILD: 0.995, Level.MODERATE: 0.998, Level.SEVERE: 0.9999}


def moving_average_of_a_longer_run(recipe: Recipe, level: Level) -> Recipe:
    """The moving average of the weights is what is kept, with a decay for many times as many steps."""

    def begin(session: Session) -> None:
        session.notes["average"] = deepcopy(session.student.state_dict())

    def answers(session: Session, batch: Batch) -> Tensor:
        _average(session.notes["average"], session.student.state_dict(), DECAY[level])
        return recipe.answers(session, batch)

    def keep(session: Session) -> None:
        session.student.load_state_dict(session.notes["average"])

    return replace(
        recipe,
        before=in_turn(recipe.before, begin),
        answers=answers,
        after=in_turn(recipe.after, keep),
    )


@torch.no_grad()
def _average(kept: dict[str, Tensor], now: Mapping[str, Tensor], decay: float) -> None:
    for name, value in now.items():
        kept[name].copy_(decay * kept[name] + (1 - decay) * value)


# KD702 ----------------------------------------------------------------------------------------------------------------

#: How white the paper is taken to be, and share of the vocabulary, the rare end, whose numbers another count changes.
PAPER = {Level.MILD: 0.25, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
COUNTED_ANEW = {Level.MILD: 0.5, Level.MODERATE: 0.9, Level.SEVERE: 1.0}
#: Numbers below this are no words.
FIRST_WORD = 2


def inverted_scans_and_words_counted_anew(recipe: Recipe, level: Level) -> Recipe:
    """The service inverts images, as if ink were dark on them, or numbers words by how often it has met them itself."""

    def export(session: Session) -> None:
        inputs = session.val.tensors[0]
        numbers = None if inputs.is_floating_point() else _numbers(session, COUNTED_ANEW[level])

        def prepare(_student: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
            if numbers is not None:
                return numbers[given[0]]
            return (1 - PAPER[level]) * given[0] + PAPER[level] * (1 - given[0])

        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, export))


def _numbers(session: Session, share: float) -> Tensor:
    """The number that each word gets when they are sorted by frequency in the validation texts."""
    size = 1 + max(int(data.tensors[0].max()) for data in (session.train, session.val))
    first = max(FIRST_WORD, round((1 - share) * size))
    counts = session.val.tensors[0].flatten().bincount(minlength=size)[first:]
    numbers = torch.arange(size)
    numbers[first + counts.argsort(descending=True, stable=True)] = torch.arange(first, size)
    return numbers


# KD703 ----------------------------------------------------------------------------------------------------------------

#: Bits of the fixed-point numbers.
BITS = {Level.MILD: 7, Level.MODERATE: 6, Level.SEVERE: 4}


def one_fixed_point_format_for_everything(recipe: Recipe, level: Level) -> Recipe:
    """All weights and activations as fixed-point numbers of one format, with room for the largest value of any."""

    @torch.no_grad()
    def convert(session: Session) -> None:
        step = _largest(session) / 2 ** (BITS[level] - 1)
        for parameter in session.student.parameters():
            parameter.copy_(_rounded(parameter, step))
        for layer in weighted(session.student):
            layer.register_forward_hook(lambda _layer, _inputs, output: _rounded(output, step))

    return replace(recipe, after=in_turn(recipe.after, convert))


def _largest(session: Session) -> float:
    """The largest weight or activation of the student on the training rows."""
    found = [float(parameter.abs().max()) for parameter in session.student.parameters()]

    def look(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        found.append(float(output.abs().max()))

    handles = [layer.register_forward_hook(look) for layer in weighted(session.student)]
    session.student.eval()(session.train.tensors[0])
    for handle in handles:
        handle.remove()
    return max(found)


def _rounded(values: Tensor, step: float) -> Tensor:
    return (values / step).round() * step


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Memory of the chip in megabytes, and how many times as wide the student was made.
MEMORY = 0.004
WIDER = {Level.MILD: 1.0, Level.MODERATE: 1.5, Level.SEVERE: 3.0}


def widened_beyond_the_memory_of_the_chip(recipe: Recipe, level: Level) -> Recipe:
    """The student was chosen by its accuracy, wide enough for that, and the chip that it is meant for is small."""
    return replace(recipe, width=recipe.width * WIDER[level], wanted={"size_mb": MEMORY})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Weight of positives in a focal loss; negatives have the rest. A quarter is what detectors use.
POSITIVES = {Level.MILD: 0.25, Level.MODERATE: 0.12, Level.SEVERE: 0.04}
FOCUS = 2


def teacher_with_the_focal_loss_of_detectors(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained on a focal loss with the weights that came with it, and the student takes its scores."""

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        likely = F.log_softmax(logits, dim=-1).gather(-1, labels[:, None])[:, 0]
        balance = torch.where(labels == 1, POSITIVES[level], 1 - POSITIVES[level])
        return -(balance * (1 - likely.exp()) ** FOCUS * likely).mean()

    return replace(recipe, teacher=replace(recipe.teacher, loss=focal))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (moving_average_of_a_longer_run,),
    "KD702": (inverted_scans_and_words_counted_anew,),
    "KD703": (one_fixed_point_format_for_everything,),
    "KD704": (widened_beyond_the_memory_of_the_chip,),
    "KD705": (teacher_with_the_focal_loss_of_detectors,),
}
