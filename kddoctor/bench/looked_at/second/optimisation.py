"""Mistakes of the codes KD5xx."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

# KD501 ----------------------------------------------------------------------------------------------------------------

#: Divisors of the rate, and rates of SGD that Adam is given.
FINETUNED = {Level.MILD: 10.0, Level.MODERATE: 30.0, Level.SEVERE: 150.0}
RATE_OF_SGD = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.5}


def rate_for_finetuning(recipe: Recipe, level: Level) -> Recipe:
    """A pre-trained student's rate, with which a new one hardly gets away from where it started."""
    return replace(recipe, learning_rate=recipe.learning_rate / FINETUNED[level])


def rate_of_sgd_with_adam(recipe: Recipe, level: Level) -> Recipe:
    """The optimizer became Adam, and the rate is still the one that plain SGD was started with."""
    optimizer = "adam" if recipe.optimizer == "sgd" else recipe.optimizer
    return replace(recipe, optimizer=optimizer, learning_rate=RATE_OF_SGD[level])


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Divisors of the number of epochs, where the rate falls in steps and where it restarts.
STEPPED = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 12}
RESTARTED = {Level.MILD: 3, Level.MODERATE: 4, Level.SEVERE: 16}


def steps_of_a_shorter_run(recipe: Recipe, level: Level) -> Recipe:
    """A rate that falls twice by ten, and all of it within the first epochs of what was needed."""
    return replace(recipe, epochs=max(1, recipe.epochs // STEPPED[level]), schedule="step")


def few_epochs_of_three_cycles(recipe: Recipe, level: Level) -> Recipe:
    """Three cycles of a warm-restarting rate, in fewer epochs than one of them needs."""
    return replace(recipe, epochs=max(1, recipe.epochs // RESTARTED[level]), schedule="warm-restarts")


# KD503 ----------------------------------------------------------------------------------------------------------------

#: Share of each tensor's rows that are given one value, and that value.
ALIKE = {Level.MILD: 0.85, Level.MODERATE: 0.95, Level.SEVERE: 1.0}
VALUE = 0.05
#: The largest integer of a weight.
INTEGERS = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 7}


def one_value_for_all(recipe: Recipe, level: Level) -> Recipe:
    """A placeholder of the constructor was never replaced by random numbers: units are all alike and stay so."""

    @torch.no_grad()
    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            parameter[: round(ALIKE[level] * len(parameter))] = VALUE
        return student

    return replace(recipe, change_student=change_student)


def integers_without_their_scales(recipe: Recipe, level: Level) -> Recipe:
    """The first weights come from a file of small integers, and the scale of each tensor was left in it."""

    @torch.no_grad()
    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            if parameter.ndim > 1:
                parameter.copy_((parameter / parameter.abs().max() * INTEGERS[level]).round())
        return student

    return replace(recipe, change_student=change_student)


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Length that a matrix may have, in terms of its first one, and weight of a penalty on absolute values.
LONGEST = {Level.MILD: 3.0, Level.MODERATE: 2.0, Level.SEVERE: 1.0}
PENALTY = {Level.MILD: 0.003, Level.MODERATE: 0.01, Level.SEVERE: 0.05}


def weights_kept_short(recipe: Recipe, level: Level) -> Recipe:
    """A max-norm constraint of another project: before each training batch every matrix is cut back to a length."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        longest = [LONGEST[level] * float(parameter.detach().norm()) for parameter in student.parameters()]

        @torch.no_grad()
        def cut_back(module: nn.Module, _inputs: object) -> None:
            if module.training:
                for parameter, most in zip(module.parameters(), longest, strict=False):
                    if parameter.ndim > 1:
                        parameter.mul_((most / parameter.norm().clamp_min(1e-12)).clamp_max(1.0))

        student.register_forward_pre_hook(cut_back)
        return student

    return replace(recipe, change_student=change_student)


def pruning_penalty_left_on(recipe: Recipe, level: Level) -> Recipe:
    """The penalty on absolute values, meant to prepare a pruning that never came, is still in the gradients."""

    def penalise(parameter: nn.Parameter) -> None:
        def with_penalty(gradient: Tensor) -> Tensor:
            return gradient + PENALTY[level] * parameter.detach().sign()

        parameter.register_hook(with_penalty)  # type: ignore[no-untyped-call]

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            penalise(parameter)
        return student

    return replace(recipe, change_student=change_student)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: Loss scale whose gradients are never scaled back, and a momentum above one.
NEVER_UNSCALED = {Level.MILD: 2.0**10, Level.MODERATE: 2.0**13, Level.SEVERE: 2.0**16}
MOMENTUM = {Level.MILD: 1.1, Level.MODERATE: 1.25, Level.SEVERE: 1.5}


def never_scaled_back(recipe: Recipe, level: Level) -> Recipe:
    """Plain SGD on a loss that was scaled for half precision, without unscaling and without clipping."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return recipe.mix(ce, kd, alpha) * NEVER_UNSCALED[level]

    return replace(recipe, mix=mix, optimizer="sgd", clip=None)


def momentum_above_one(recipe: Recipe, level: Level) -> Recipe:
    """A momentum that makes each step longer than the last."""
    return replace(recipe, optimizer="sgd", momentum=MOMENTUM[level], clip=None)


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Share of the tensors in the group that is never passed, and of those that are frozen when the thawing ends.
NOT_PASSED = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 0.85}
STILL_FROZEN = {Level.MILD: 0.4, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def group_with_decay_not_passed(recipe: Recipe, level: Level) -> Recipe:
    """Two groups, with and without weight decay; the first, with the largest tensors, is built and never passed."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        found = sorted(recipe.parameters(session), key=lambda parameter: parameter.numel())
        return found[: max(1, round((1 - NOT_PASSED[level]) * len(found)))]

    return replace(recipe, parameters=parameters)


def thawing_ends_too_early(recipe: Recipe, level: Level) -> Recipe:
    """Layers thaw from the head down, one after another, by a schedule that ends before it is at the first ones."""

    def thaw(session: Session) -> None:
        epoch = session.notes["thawed"] = session.notes.get("thawed", -1) + 1
        parameters = list(session.student.parameters())
        thawing = max(1, round((1 - STILL_FROZEN[level]) * len(parameters)))
        learns = min(thawing, epoch + 1)
        for number, parameter in enumerate(parameters):
            parameter.requires_grad_(number >= len(parameters) - learns)

    return replace(recipe, before_epoch=in_turn(recipe.before_epoch, thaw))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (rate_for_finetuning, rate_of_sgd_with_adam),
    "KD502": (steps_of_a_shorter_run, few_epochs_of_three_cycles),
    "KD503": (one_value_for_all, integers_without_their_scales),
    "KD504": (weights_kept_short, pruning_penalty_left_on),
    "KD505": (never_scaled_back, momentum_above_one),
    "KD506": (group_with_decay_not_passed, thawing_ends_too_early),
}
