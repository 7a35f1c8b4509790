"""Mistakes of the codes KD5xx."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from torch.optim import SGD

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session, batches

# KD501 ----------------------------------------------------------------------------------------------------------------

#: Factor on the rate from each tensor to the one below it.
FALLS = {Level.MILD: 0.5, Level.MODERATE: 0.2, Level.SEVERE: 0.02}


def rates_that_fall_with_depth(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuning a deep model lowers the rate from layer to layer; this student is new, and its first ones creep."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        tensors = list(recipe.parameters(session))
        groups: list[Any] = [
            {"params": [tensor], "lr": recipe.learning_rate * FALLS[level] ** (above / 2)}
            for above, tensor in enumerate(reversed(tensors))
        ]
        return groups

    return replace(recipe, parameters=parameters)


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Batches without a better loss after which the rate is halved.
PATIENCE = {Level.MILD: 12, Level.MODERATE: 6, Level.SEVERE: 2}


class _Plateau:
    """The factor on the rate after the losses so far: halved where the best of them is long ago."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def __repr__(self) -> str:
        return f"halved after {self.patience} batches"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self.factor, self._best, self._waited = 1.0, float("inf"), 0

    def see(self, loss: float) -> None:
        """The loss of one batch."""
        if loss < self._best:
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited > self.patience:
            self.factor, self._waited = self.factor / 2, 0


def plateau_of_single_batches(recipe: Recipe, level: Level) -> Recipe:
    """The rate is halved on a plateau of the loss, and what is looked at is not an epoch's loss but a batch's.

    A lucky batch early on is hard to beat: the rate is gone before the student has learnt.
    """
    plateau = _Plateau(PATIENCE[level])

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        loss = recipe.mix(ce, kd, alpha)
        plateau.see(float(loss.detach()))
        return loss

    before = in_turn(recipe.before, plateau.start)
    followed = with_factor_on_the_rate(recipe, lambda _session, _batch: plateau.factor)
    return replace(followed, before=before, mix=mix, schedule="constant")


# KD503 ----------------------------------------------------------------------------------------------------------------

#: The loss, as a multiple of the least one, at which the search for a rate ends.
ENDS_AT = {Level.MILD: 1.5, Level.MODERATE: 4.0, Level.SEVERE: 50.0}
#: First rate of the search, its growth from batch to batch, and batches at the most.
FIRST_RATE, GROWTH, AT_MOST = 1e-3, 1.15, 200


def search_for_a_rate_never_undone(recipe: Recipe, level: Level) -> Recipe:
    """A search for the rate raised it until the loss exploded, and nobody put the first weights back after it."""

    def search(session: Session) -> None:
        inputs, labels = session.train.tensors
        generator = torch.Generator().manual_seed(session.seed + 223)
        optimizer = SGD(session.student.parameters(), FIRST_RATE)
        least = float("inf")
        tried = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(session.seed + 223)
            while tried < AT_MOST:
                for rows in batches(len(inputs), recipe.batch_size, generator):
                    loss = recipe.ce_loss(*recipe.rows(session.student(inputs[rows]), labels[rows]))
                    least, tried = min(least, float(loss.detach())), tried + 1
                    if not loss.isfinite() or float(loss.detach()) > ENDS_AT[level] * least or tried >= AT_MOST:
                        optimizer.zero_grad()
                        return
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    optimizer.param_groups[0]["lr"] *= GROWTH

    return replace(recipe, before=in_turn(recipe.before, search))


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Share of another row in what a layer passes on.
BLENDED = {Level.MILD: 0.2, Level.MODERATE: 0.35, Level.SEVERE: 0.6}


def features_blended_between_rows(recipe: Recipe, level: Level) -> Recipe:
    """Behind each of the student's layers but the head, rows are blended, from a project that blends labels as well."""

    def blend(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        if not layer.training:
            return output
        return torch.lerp(output, output[torch.randperm(len(output))], BLENDED[level])

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student)[:-1]:
            layer.register_forward_hook(blend)
        return student

    return replace(recipe, change_student=change_student)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: Batches after which gradients are set to zero.
CLEARED = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 1_000_000}


def gradients_never_set_to_zero(recipe: Recipe, level: Level) -> Recipe:
    """zero_grad() is called seldom (never, where severe): the gradients of all the batches before are added up."""

    def attach(session: Session) -> None:
        session.notes["gradients"] = {}
        for number, parameter in enumerate(session.student.parameters()):
            parameter.register_hook(_adder(session.notes["gradients"], number))  # type: ignore[no-untyped-call]

    def answers(session: Session, batch: Batch) -> Tensor:
        if batch.step % CLEARED[level] == 0:
            session.notes["gradients"].clear()
        return recipe.answers(session, batch)

    return replace(recipe, before=in_turn(recipe.before, attach), answers=answers, clip=None)


def _adder(kept: dict[int, Tensor], number: int) -> Any:
    def add(gradient: Tensor) -> Tensor:
        kept[number] = kept[number] + gradient if number in kept else gradient.clone()
        return kept[number]

    return add


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Layers, from the first one on, whose weights are rounded, as a share of all; steps between whole numbers.
ROUNDED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}
STEPS = 256


class Rounded(nn.Module):
    """A weight on the grid of fixed-point numbers."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return (weight * STEPS).round() / STEPS

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The weight that is rounded."""
        return weight


def weights_rounded_in_the_forward_pass(recipe: Recipe, level: Level) -> Recipe:
    """Weights are rounded as hardware will have them, in training too, by round(), whose gradient is always zero."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        layers = weighted(student)
        for layer in layers[: min(len(layers) - 1, max(1, round(ROUNDED[level] * len(layers))))]:
            register_parametrization(layer, "weight", Rounded())
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (rates_that_fall_with_depth,),
    "KD502": (plateau_of_single_batches,),
    "KD503": (search_for_a_rate_never_undone,),
    "KD504": (features_blended_between_rows,),
    "KD505": (gradients_never_set_to_zero,),
    "KD506": (weights_rounded_in_the_forward_pass,),
}
