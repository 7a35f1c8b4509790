"""Mistakes of the codes KD5xx."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 ----------------------------------------------------------------------------------------------------------------
#: How many times as long as the whole run the warm-up is.
WARM_UP = {Level.MILD: 5, Level.MODERATE: 15, Level.SEVERE: 60}


def warm_up_of_a_longer_run(recipe: Recipe, level: Level) -> Recipe:
    """The number of warm-up steps was copied from a run on far more data: this one ends before the rate has risen."""

    def factor(session: Session, batch: Batch) -> float:
        return (batch.step + 1) / (WARM_UP[level] * _steps(recipe, session))

    return with_factor_on_the_rate(replace(recipe, schedule="constant"), factor)


# KD502 ----------------------------------------------------------------------------------------------------------------
#: Batches for each step of the optimizer.
ACCUMULATED = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 16}


def gradients_cleared_between_micro_batches(recipe: Recipe, level: Level) -> Recipe:
    """Gradients are to be accumulated, but are cleared after every batch: most batches change nothing at all."""

    def answers(session: Session, batch: Batch) -> Tensor:
        session.notes["steps_now"] = (batch.step + 1) % ACCUMULATED[level] == 0
        return recipe.answers(session, batch)

    def clear(session: Session) -> None:
        def cleared(parameter: Tensor) -> None:
            if not session.notes["steps_now"]:
                parameter.grad = None

        for parameter in session.student.parameters():
            parameter.register_post_accumulate_grad_hook(cleared)  # type: ignore[no-untyped-call]

    return replace(recipe, before=in_turn(recipe.before, clear), answers=answers)


# KD503 ----------------------------------------------------------------------------------------------------------------
#: Share of the student's tensors, from the first on, that the checkpoint does not hold.
MISSING = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def empty_memory_never_filled(recipe: Recipe, level: Level) -> Recipe:
    """The student is made without memory of its own and then given some; what no checkpoint fills stays zero."""

    @torch.no_grad()
    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        parameters = list(student.parameters())
        for parameter in parameters[: max(1, round(MISSING[level] * len(parameters)))]:
            parameter.zero_()
        return student

    return replace(recipe, change_student=change_student)


# KD504 ----------------------------------------------------------------------------------------------------------------
#: Weight of the sum of absolute weights. Adam divides it by the size of the gradient, so that less is felt there.
SPARSITY = {Level.MILD: 0.0002, Level.MODERATE: 0.0006, Level.SEVERE: 0.002}
PLAIN = 15.0


def sparsity_penalty_for_later_pruning(recipe: Recipe, level: Level) -> Recipe:
    """The student is to be pruned one day, so an L1 penalty on every weight goes along with the distillation."""
    weight = SPARSITY[level] * (PLAIN if recipe.optimizer == "sgd" else 1.0)

    def penalise(session: Session) -> None:
        for parameter in session.student.parameters():
            if parameter.ndim > 1:
                parameter.register_hook(_with_sign_of(parameter, weight))  # type: ignore[no-untyped-call]

    return replace(recipe, before=in_turn(recipe.before, penalise))


def _with_sign_of(parameter: nn.Parameter, weight: float) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient + weight * parameter.detach().sign()


# KD505 ----------------------------------------------------------------------------------------------------------------
#: How far below the usual rate the search begins, and how far above it ends.
SEARCHED = {Level.MILD: 1e3, Level.MODERATE: 1e4, Level.SEVERE: 1e5}


def rate_finder_left_on(recipe: Recipe, level: Level) -> Recipe:
    """The loop is that of a search for the best rate, which raises it at each step until the loss explodes."""

    def factor(session: Session, batch: Batch) -> float:
        return float(SEARCHED[level] ** (2 * (batch.step + 1) / _steps(recipe, session) - 1))

    searching = replace(recipe, optimizer="sgd", schedule="constant", clip=None)
    return with_factor_on_the_rate(searching, factor)


def _steps(recipe: Recipe, session: Session) -> int:
    rows = len(session.train)
    return max(1, recipe.epochs * (rows // min(recipe.batch_size, rows)))


# KD506 ----------------------------------------------------------------------------------------------------------------
#: Share of the student's layers, from the largest on, that are converted; at least one is not.
CONVERTED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def optimizer_built_before_the_conversion(recipe: Recipe, level: Level) -> Recipe:
    """Layers are converted after the optimizer was built: it goes on with the tensors that they had before."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        given = list(recipe.parameters(session))
        layers = sorted(layers_of(session.student), key=_size, reverse=True)
        for layer in layers[: min(max(1, round(CONVERTED[level] * len(layers))), len(layers) - 1)]:
            _convert(layer)
        return given

    return replace(recipe, parameters=parameters)


def _size(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _convert(layer: nn.Module) -> None:
    for name, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, name, nn.Parameter(parameter.detach().clone()))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (warm_up_of_a_longer_run,),
    "KD502": (gradients_cleared_between_micro_batches,),
    "KD503": (empty_memory_never_filled,),
    "KD504": (sparsity_penalty_for_later_pruning,),
    "KD505": (rate_finder_left_on,),
    "KD506": (optimizer_built_before_the_conversion,),
}
