"""Mistakes in how the student is optimised: its rate, its length, its first weights, its regularisers."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 ----

_WARM_UP = {Level.MILD: 1_500, Level.MODERATE: 4_000, Level.SEVERE: 20_000}


def warm_up_of_a_paper_that_trained_for_weeks(recipe: Recipe, level: Level) -> Recipe:
    """Copied the number of warm-up steps from a paper whose run was many times as long."""

    def factor(_session: Session, batch: Batch) -> float:
        return min(1.0, (batch.step + 1) / _WARM_UP[level])

    return with_factor_on_the_rate(recipe, factor)


# KD502 ----

_WALL_TIME = {Level.MILD: 0.3, Level.MODERATE: 0.15, Level.SEVERE: 0.06}


def job_ended_at_its_wall_time(recipe: Recipe, level: Level) -> Recipe:
    """Kept what there was when the queue ended the job, long before the rate was to come down."""
    return replace(recipe, epochs=max(1, round(recipe.epochs * _WALL_TIME[level])), schedule="constant")


# KD503 ----

_DRAWN = {Level.MILD: 0.33, Level.MODERATE: 0.6, Level.SEVERE: 2.0}


def first_weights_drawn_from_zero_to_one(recipe: Recipe, level: Level) -> Recipe:
    """Drew the student's first weights with rand where randn was meant, so that all of them are positive."""
    change = recipe.change_student

    def drawn(student: nn.Module) -> nn.Module:
        return _positive(change(student), _DRAWN[level])

    return replace(recipe, change_student=drawn)


@torch.no_grad()
def _positive(student: nn.Module, size: float) -> nn.Module:
    generator = torch.Generator().manual_seed(20_011)
    for weight in student.parameters():
        if weight.ndim > 1:
            weight.copy_(size * torch.rand(weight.shape, generator=generator))
    return student


# KD504 ----

_DROPPED = {Level.MILD: 0.05, Level.MODERATE: 0.15, Level.SEVERE: 0.3}


def weights_dropped_as_in_the_large_model(recipe: Recipe, level: Level) -> Recipe:
    """Dropped weights of every layer at the rate that a model a hundred times as large was trained with."""
    change = recipe.change_student

    def dropped(student: nn.Module) -> nn.Module:
        changed = change(student)
        for layer in weighted(changed):
            parametrize.register_parametrization(layer, "weight", _DropWeights(_DROPPED[level]))
        return changed

    return replace(recipe, change_student=dropped)


class _DropWeights(nn.Module):
    """Each weight is left out of a training step with a probability."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, weight: Tensor) -> Tensor:
        """The weights that are left, scaled up."""
        return F.dropout(weight, self.share, self.training)


# KD505 ----

_RANGE = {Level.MILD: 1e2, Level.MODERATE: 1e4, Level.SEVERE: 1e6}


def range_test_of_the_rate_left_on_too(recipe: Recipe, level: Level) -> Recipe:
    """Left the learning-rate finder on, which raises the rate exponentially from the first step to the last."""

    def factor(session: Session, batch: Batch) -> float:
        steps = recipe.epochs * max(1, len(session.train) // recipe.batch_size)
        return float(_RANGE[level] ** (batch.step / steps))

    return with_factor_on_the_rate(replace(recipe, schedule="constant"), factor)


# KD506 ----


def unfrozen_layer_by_layer_until_the_run_was_over(recipe: Recipe, level: Level) -> Recipe:
    """Unfroze layer after layer from the head down, so slowly that the run ended before the lowest had their turn."""

    def thaw(session: Session) -> None:
        epoch = session.notes.get("epoch", 0)
        session.notes["epoch"] = epoch + 1
        layers = layers_of(session.student)
        turns = {Level.MILD: len(layers) - 1, Level.MODERATE: len(layers) // 2, Level.SEVERE: 1}[level]
        released = 1 + epoch * max(1, turns) // recipe.epochs
        for number, layer in enumerate(reversed(layers)):
            layer.requires_grad_(number < released)

    return replace(recipe, before_epoch=in_turn(recipe.before_epoch, thaw))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (warm_up_of_a_paper_that_trained_for_weeks,),
    "KD502": (job_ended_at_its_wall_time,),
    "KD503": (first_weights_drawn_from_zero_to_one,),
    "KD504": (weights_dropped_as_in_the_large_model,),
    "KD505": (range_test_of_the_rate_left_on_too,),
    "KD506": (unfrozen_layer_by_layer_until_the_run_was_over,),
}
