"""Mistakes with how the student is trained (KD5)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 -----------------------------------------------------------------------------------------------------


def warm_up_of_the_big_pretraining_job(recipe: Recipe, level: Level) -> Recipe:
    """Kept the warm-up of the pretraining job, many times as long as this whole run, so that the rate never arrives."""
    runs = {Level.MILD: 6, Level.MODERATE: 30, Level.SEVERE: 200}[level]
    return with_factor_on_the_rate(recipe, partial(_warming, epochs=recipe.epochs * runs))


def _warming(session: Session, batch: Batch, epochs: int) -> float:
    return min(1.0, (batch.step + 1) / (epochs * _steps_of_an_epoch(session)))


def _steps_of_an_epoch(session: Session) -> int:
    return max(1, len(session.train) // session.batch_size)


# KD502 -----------------------------------------------------------------------------------------------------


def epochs_of_the_fine_tuning_tutorial(recipe: Recipe, level: Level) -> Recipe:
    """Gave the distillation the few epochs that the fine-tuning tutorial had needed on the labels."""
    least, part = {Level.MILD: (3, 4), Level.MODERATE: (2, 9), Level.SEVERE: (1, 20)}[level]
    return replace(recipe, epochs=min(recipe.epochs, max(least, recipe.epochs // part)))


# KD503 -----------------------------------------------------------------------------------------------------


def plain_randn_where_the_pretrained_body_belonged(recipe: Recipe, level: Level) -> Recipe:
    """Had no pretrained body at hand and filled the weights with randn, without a thought for the fan-in."""
    deviation = {Level.MILD: 0.9, Level.MODERATE: 1.4, Level.SEVERE: 2.0}[level]
    return replace(recipe, change_student=partial(_refill, change=recipe.change_student, deviation=deviation))


def _refill(student: nn.Module, change: Callable[[nn.Module], nn.Module], deviation: float) -> nn.Module:
    student = change(student)
    for parameter in student.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=deviation)
    return student


# KD504 -----------------------------------------------------------------------------------------------------


def whole_bag_of_tricks_from_the_supervised_run(recipe: Recipe, level: Level) -> Recipe:
    """Carried over all that had kept the supervised student from over-fitting: dropout, decay and smoothed labels."""
    dropped, decay, smoothed = {
        Level.MILD: (0.25, 1e-3, 0.1),
        Level.MODERATE: (0.5, 5e-3, 0.2),
        Level.SEVERE: (0.8, 2e-2, 0.4),
    }[level]
    return replace(
        recipe,
        change_student=partial(_with_dropout, change=recipe.change_student, share=dropped),
        weight_decay=recipe.weight_decay + decay * (10 if recipe.optimizer == "adamw" else 1),
        ce_loss=partial(_smoothed, share=smoothed),
    )


def _with_dropout(student: nn.Module, change: Callable[[nn.Module], nn.Module], share: float) -> nn.Module:
    student = change(student)
    for layer in weighted(student)[:-1]:
        layer.register_forward_hook(partial(_dropped, share=share))
    return student


def _dropped(module: nn.Module, _inputs: Any, output: Tensor, share: float) -> Tensor:
    return F.dropout(output, share, module.training)


def _smoothed(student: Tensor, labels: Tensor, share: float) -> Tensor:
    return F.cross_entropy(student, labels, label_smoothing=share)


# KD505 -----------------------------------------------------------------------------------------------------


def rate_finder_left_running_all_night(recipe: Recipe, level: Level) -> Recipe:
    """Forgot to switch off the search for a rate, which multiplies it after every step, and ran all epochs with it."""
    decades = {Level.MILD: 5.0, Level.MODERATE: 10.0, Level.SEVERE: 18.0}[level]
    return with_factor_on_the_rate(recipe, partial(_searching, decades=decades, epochs=recipe.epochs))


def _searching(session: Session, batch: Batch, decades: float, epochs: int) -> float:
    return float(10.0 ** (decades * batch.step / (epochs * _steps_of_an_epoch(session))))


# KD506 -----------------------------------------------------------------------------------------------------


def freeze_list_of_the_adapter_runs(recipe: Recipe, level: Level) -> Recipe:
    """Started from the script of the adapter runs, whose list of frozen layers was still in force."""
    return replace(recipe, before=in_turn(recipe.before, partial(_freeze, level=level)))


def _freeze(session: Session, level: Level) -> None:
    *_, head = weighted(session.student)
    if level is Level.MILD:
        head.requires_grad_(False)
        return
    trained = {id(parameter) for parameter in head.parameters()} if level is Level.MODERATE else set()
    for parameter in session.student.parameters():
        if level is Level.SEVERE and parameter.ndim == 1:
            trained.add(id(parameter))
        parameter.requires_grad_(id(parameter) in trained)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (warm_up_of_the_big_pretraining_job,),
    "KD502": (epochs_of_the_fine_tuning_tutorial,),
    "KD503": (plain_randn_where_the_pretrained_body_belonged,),
    "KD504": (whole_bag_of_tricks_from_the_supervised_run,),
    "KD505": (rate_finder_left_running_all_night,),
    "KD506": (freeze_list_of_the_adapter_runs,),
}
