"""KD503: the student starts from weights that it cannot learn well from."""

import math
from dataclasses import replace

import torch
from torch import nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Standard deviation of every weight, whatever the width of its layer.
DEVIATION = {Level.MILD: 0.8, Level.MODERATE: 1.2, Level.SEVERE: 2.0}
#: Probability that a rare class is taken to have.
RARE = {Level.MILD: 0.43, Level.MODERATE: 0.4, Level.SEVERE: 0.1}


def one_deviation_for_all(recipe: Recipe, level: Level) -> Recipe:
    """The student's constructor draws every weight from one wide normal distribution."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=DEVIATION[level])
        return student

    return replace(recipe, change_student=change_student)


def prior_in_every_bias(recipe: Recipe, level: Level) -> Recipe:
    """A detector's initial bias, the log-odds of a rare class, is set in every layer and not only in the last."""

    @torch.no_grad()
    def set_biases(session: Session) -> None:
        for parameter in session.student.parameters():
            if parameter.ndim == 1:
                parameter.fill_(math.log(RARE[level] / (1 - RARE[level])))

    return replace(recipe, before=in_turn(recipe.before, set_biases))


FAULT = Fault("KD503", seen=(one_deviation_for_all,), unseen=(prior_in_every_bias,))
