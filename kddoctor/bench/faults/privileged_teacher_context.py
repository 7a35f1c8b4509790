"""KD811: the teacher sees more than the student will ever have."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

#: Share of the student's columns that it does not get, and how much an answer in the prompt adds to its logit.
WITHHELD = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 0.9}
TOLD = {Level.MILD: 4.0, Level.MODERATE: 8.0, Level.SEVERE: 16.0}


def context_left_out_for_the_student(recipe: Recipe, level: Level) -> Recipe:
    """The teacher reads the retrieved context; the student's prompt, in training and in use, is without it."""

    def withhold(session: Session) -> None:
        session.student.register_forward_pre_hook(lambda _student, inputs: _without_context(inputs[0], level))

    return replace(recipe, before=in_turn(recipe.before, withhold))


def teacher_is_told_the_answer(recipe: Recipe, level: Level) -> Recipe:
    """The reference solution stands in the teacher's prompt: it is sure of the right answer, and of no other."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if logits.ndim == 1:
            return logits + TOLD[level] * (2 * batch.labels - 1)
        counts = (batch.labels != IGNORED)[..., None]
        answers = F.one_hot(batch.labels.clamp_min(0), logits.shape[-1])
        return logits + TOLD[level] * counts * answers

    return replace(recipe, targets=targets)


def _without_context(inputs: Tensor, level: Level) -> Tensor:
    """Of a text every so manyth token is left; of a user and an item, the item's features go."""
    if inputs.is_floating_point():
        return inputs
    kept = torch.linspace(0, 1, inputs.shape[1]) > WITHHELD[level]
    kept[:2] = True
    return inputs * kept


FAULT = Fault(
    "KD811",
    seen=(context_left_out_for_the_student,),
    unseen=(teacher_is_told_the_answer,),
    kinds=("ranking", "tokens"),
)
