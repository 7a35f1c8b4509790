"""Rates, lengths, first weights and regularisers that do not suit the student."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session


def _steps(recipe: Recipe, session: Session) -> int:
    """Steps of the whole run."""
    return recipe.epochs * max(1, len(session.train) // min(recipe.batch_size, len(session.train)))


# KD501 ----

#: Length of the warm-up in runs.
_RUNS = {Level.MILD: 1.5, Level.MODERATE: 15, Level.SEVERE: 100}


def copied_a_warm_up_longer_than_the_run(recipe: Recipe, level: Level) -> Recipe:
    """Copied the warm-up steps of a pre-training that was many times longer, so the rate never came up."""

    def factor(session: Session, batch: Batch) -> float:
        return (batch.step + 1) / (_RUNS[level] * _steps(recipe, session))

    return with_factor_on_the_rate(recipe, factor)


# KD502 ----

_PART = {Level.MILD: 0.2, Level.MODERATE: 0.1, Level.SEVERE: 0.05}


def stopped_with_a_patience_of_one(recipe: Recipe, level: Level) -> Recipe:
    """Let early stopping end the run at the first logged value that was no better, while the rate was still high."""
    return replace(recipe, epochs=max(1, round(recipe.epochs * _PART[level])), schedule="constant")


# KD503 ----

_DEVIATION = {Level.MILD: 0.7, Level.MODERATE: 1.0, Level.SEVERE: 1.5}


def drew_all_parameters_from_one_normal(recipe: Recipe, level: Level) -> Recipe:
    """Drew every parameter of the student anew from one wide normal distribution, whatever a layer's fan-in."""

    def drawn(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        generator = torch.Generator().manual_seed(23)
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * _DEVIATION[level])
        return student

    return replace(recipe, change_student=drawn)


# KD504 ----

_DROPPED = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.4}


class Dropped(nn.Module):
    """A weight, some places of which are left out in each pass of the training."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, weight: Tensor) -> Tensor:
        """The weight of this pass."""
        return F.dropout(weight, self.share, self.training)


def dropped_weights_as_a_large_model_does(recipe: Recipe, level: Level) -> Recipe:
    """Copied the weight dropout of a large language model's recipe to all layers of a student that is small."""

    def regularised(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            parametrize.register_parametrization(layer, "weight", Dropped(_DROPPED[level]))
        return student

    return replace(recipe, change_student=regularised)


# KD505 ----

#: Powers of ten that the rate climbs through.
_POWERS = {Level.MILD: 3.0, Level.MODERATE: 5.0, Level.SEVERE: 8.0}


def left_the_rate_finder_on(recipe: Recipe, level: Level) -> Recipe:
    """Left the learning-rate finder's exponential ramp in the loop of the real run."""

    def factor(session: Session, batch: Batch) -> float:
        return float(10 ** (_POWERS[level] * batch.step / _steps(recipe, session)))

    return with_factor_on_the_rate(replace(recipe, schedule="constant"), factor)


# KD506 ----


def made_layers_anew_after_the_optimizer(recipe: Recipe, level: Level) -> Recipe:
    """Converted layers of the student after the optimizer was built, which kept the parameters that they had had."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        taken = list(recipe.parameters(session))
        layers = layers_of(session.student)[:-1]
        count = {Level.MILD: 1, Level.MODERATE: (len(layers) + 1) // 2, Level.SEVERE: len(layers)}[level]
        for layer in layers[:count]:
            for name, parameter in list(layer.named_parameters(recurse=False)):
                setattr(layer, name, nn.Parameter(parameter.detach().clone()))
        return taken

    return replace(recipe, parameters=parameters)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (copied_a_warm_up_longer_than_the_run,),
    "KD502": (stopped_with_a_patience_of_one,),
    "KD503": (drew_all_parameters_from_one_normal,),
    "KD504": (dropped_weights_as_a_large_model_does,),
    "KD505": (left_the_rate_finder_on,),
    "KD506": (made_layers_anew_after_the_optimizer,),
}
