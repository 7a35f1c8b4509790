"""Mistakes between the last epoch and the user."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Session

# KD701 ----


def best_epoch_sought_among_the_lowest_scores(recipe: Recipe, level: Level) -> Recipe:
    """Left the checkpoint callback at mode "min" when its monitor changed from the loss to the accuracy."""
    first = {Level.MILD: 4, Level.MODERATE: 2, Level.SEVERE: 1}[level]

    def watch(session: Session) -> None:
        epoch = session.notes.setdefault("epochs done", 0)
        session.notes["epochs done"] = epoch + 1
        if epoch < first:
            return
        score = _accuracy(session)
        if score < session.notes.get("best score", float("inf")):
            session.notes["best score"] = score
            session.notes["best"] = {name: value.clone() for name, value in session.student.state_dict().items()}

    def deliver(session: Session) -> None:
        if "best" in session.notes:
            session.student.load_state_dict(session.notes["best"])

    return replace(recipe, before_epoch=in_turn(watch, recipe.before_epoch), after=in_turn(recipe.after, deliver))


@torch.no_grad()
def _accuracy(session: Session) -> float:
    inputs, labels = session.val.tensors
    training = session.student.training
    rows, truth = class_rows(session.student.eval()(inputs), labels)
    session.student.train(training)
    return float((rows.argmax(1) == truth).double().mean())


# KD702 ----


def service_with_a_preprocessor_of_its_own(recipe: Recipe, level: Level) -> Recipe:
    """Shipped the student behind a service that normalises with 0.5 and 0.5 and knows a trimmed list of signs."""
    moved = {Level.MILD: 0.15, Level.MODERATE: 0.3, Level.SEVERE: 0.5}[level]
    unlisted = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}[level]

    def ship(session: Session) -> None:
        inputs = session.train.tensors[0]
        if inputs.is_floating_point():
            served = _normalising(moved)
        else:
            last = int(inputs[inputs > 0].double().quantile(1 - unlisted))
            served = _trimming(last)
        session.student.register_forward_pre_hook(served)

    return replace(recipe, after=in_turn(recipe.after, ship))


Hook = Callable[[nn.Module, tuple[Any, ...]], tuple[Tensor]]


def _normalising(moved: float) -> Hook:
    def served(_student: nn.Module, received: tuple[Any, ...]) -> tuple[Tensor]:
        return ((received[0] - moved) / (1 - moved),)

    return served


def _trimming(last: int) -> Hook:
    def served(_student: nn.Module, received: tuple[Any, ...]) -> tuple[Tensor]:
        signs: Tensor = received[0]
        return (torch.where(signs > last, 1, signs),)

    return served


# KD703 ----


def weights_rounded_to_one_grid_per_tensor(recipe: Recipe, level: Level) -> Recipe:
    """Squeezed the finished student into a few bits, one range from smallest to largest weight for each tensor."""
    bits = {Level.MILD: 4, Level.MODERATE: 3, Level.SEVERE: 2}[level]

    @torch.no_grad()
    def squeeze(session: Session) -> None:
        for weight in session.student.parameters():
            if weight.ndim > 1:
                weight.copy_(_on_a_grid(weight, 2**bits - 1))

    return replace(recipe, after=in_turn(recipe.after, squeeze))


def _on_a_grid(weight: Tensor, steps: int) -> Tensor:
    low, high = weight.min(), weight.max()
    step = ((high - low) / steps).clamp_min(1e-12)
    return low + ((weight - low) / step).round() * step


# KD704 ----


def flash_of_the_microcontroller_promised_first(recipe: Recipe, level: Level) -> Recipe:
    """Promised that the student would fit into a microcontroller's flash before anybody had counted its weights."""
    kilobytes = {Level.MILD: 4.0, Level.MODERATE: 1.0, Level.SEVERE: 0.1}[level]
    return replace(recipe, wanted={**(recipe.wanted or {}), "size_mb": kilobytes / 1000})


# KD705 ----


def yes_weighted_teacher_never_calibrated_back(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher with a positive weight to find more of the yeses, and distilled its scores as they came."""
    weight = {Level.MILD: 3.0, Level.MODERATE: 8.0, Level.SEVERE: 25.0}[level]
    return replace(recipe, teacher=replace(recipe.teacher, loss=_with_yes_weighted(weight)))


def _with_yes_weighted(weight: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(logits, labels, reduction="none")
        return (each * torch.where(labels == 1, weight, 1.0)).mean()

    return loss


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (best_epoch_sought_among_the_lowest_scores,),
    "KD702": (service_with_a_preprocessor_of_its_own,),
    "KD703": (weights_rounded_to_one_grid_per_tensor,),
    "KD704": (flash_of_the_microcontroller_promised_first,),
    "KD705": (yes_weighted_teacher_never_calibrated_back,),
}
