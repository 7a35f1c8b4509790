"""KD108: the teacher gets its inputs in another form than the one it was trained on."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session

#: Mean and standard deviation by which the student's pipeline normalises images of values between 0 and 1.
NORMALISED = {Level.MILD: (0.15, 0.7), Level.MODERATE: (0.2, 0.55), Level.SEVERE: (0.3, 0.4)}
#: Share of a text that the student's tokenizer keeps before it pads.
KEPT = {Level.MILD: 0.6, Level.MODERATE: 0.35, Level.SEVERE: 0.15}
#: Largest value of a pixel, where the teacher knows it as 1.
LARGEST = {Level.MILD: 0.75, Level.MODERATE: 0.6, Level.SEVERE: 0.3}
#: Share of a text's length by which padding stands before it rather than after it.
BEFORE = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.6}

#: Size to which images are brought, as a share of their own; and one word of how many is kept.
RESIZED = {Level.MILD: 0.9, Level.MODERATE: 0.7, Level.SEVERE: 0.4}
STEP = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 5}


def pipeline_of_the_student(recipe: Recipe, level: Level) -> Recipe:
    """One pipeline, made for the student: it normalises images (cuts texts), which the teacher never saw."""

    def change(data: TensorDataset) -> TensorDataset:
        inputs, *others = data.tensors
        if inputs.is_floating_point():
            mean, deviation = NORMALISED[level]
            return TensorDataset((inputs - mean) / deviation, *others)
        return TensorDataset(_cut(inputs, KEPT[level]), *others)

    return replace(
        recipe,
        train_set=lambda data: change(recipe.train_set(data)),
        val_set=lambda data: change(recipe.val_set(data)),
    )


def _cut(words: Tensor, share: float) -> Tensor:
    cut = words.clone()
    cut[:, max(2, round(share * words.shape[1])) :] = 0
    return cut


def transform_of_another_checkpoint(recipe: Recipe, level: Level) -> Recipe:
    """The teacher is called through the transform of an older checkpoint: darker images, padding before the text."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return run_teacher(session, replace(batch, inputs=_older(batch.inputs, level)))

    return replace(recipe, targets=targets)


def _older(inputs: Tensor, level: Level) -> Tensor:
    if inputs.is_floating_point():
        return inputs * LARGEST[level]
    return inputs.roll(round(BEFORE[level] * inputs.shape[1]), dims=1)


def resized_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper brings inputs to a size that it was not trained at: blurred, or thinned."""

    def wrap(session: Session) -> None:
        session.teacher.register_forward_pre_hook(lambda _module, inputs: (_resized(inputs[0], level), *inputs[1:]))

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _resized(inputs: Tensor, level: Level) -> Tensor:
    if inputs.is_floating_point():
        size = inputs.shape[-2:]
        small = [max(2, round(length * RESIZED[level])) for length in size]
        return F.interpolate(F.interpolate(inputs, small, mode="bilinear"), size, mode="bilinear")
    # One word of several, as where a text is thinned to fit another length.
    step = STEP[level]
    thinned = torch.zeros_like(inputs)
    kept = inputs[:, ::step]
    thinned[:, : kept.shape[1]] = kept
    return thinned


# Sequences of tokens have codes of their own for tokenizers and truncation.
FAULT = Fault(
    "KD108",
    seen=(pipeline_of_the_student,),
    unseen=(transform_of_another_checkpoint, resized_for_the_teacher),
    kinds=("multiclass",),
)
