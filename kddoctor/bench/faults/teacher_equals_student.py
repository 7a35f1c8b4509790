"""KD109: teacher and student are the same model."""

from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session


def no_teacher_given(recipe: Recipe, _level: Level) -> Recipe:
    """No teacher was named, and the trainer's default is the model itself."""

    def before(session: Session) -> None:
        session.teacher = session.student

    return replace(recipe, before=before)


def model_called_for_both(recipe: Recipe, _level: Level) -> Recipe:
    """The function that makes the targets is handed the student: both variables are called model."""

    def targets(session: Session, batch: Batch) -> Tensor:
        model = session.student
        with torch.no_grad():
            logits: Tensor = model(batch.inputs)
        return logits

    return replace(recipe, targets=targets)


FAULT = Fault("KD109", seen=(no_teacher_given,), unseen=(model_called_for_both,), knob=False)
