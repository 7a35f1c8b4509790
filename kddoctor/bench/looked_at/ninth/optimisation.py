"""Mistakes of the codes KD5xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 ----------------------------------------------------------------------------------------------------------------

#: What the rate was to be divided by in the end, less one. Adam forgives more, as its steps do not grow with the loss.
DECAY = {Level.MILD: 4.0, Level.MODERATE: 6.0, Level.SEVERE: 8.0}
FORGIVEN = 3.0


def multiplied_by_what_was_to_divide_it(recipe: Recipe, level: Level) -> Recipe:
    """A decay by time, 1 + decay * steps, is multiplied with the rate that it was to divide: it rises to the end."""
    decay = DECAY[level] * (1.0 if recipe.optimizer == "sgd" else FORGIVEN)

    def factor(session: Session, batch: Batch) -> float:
        return 1 + decay * batch.step / _steps(recipe, session)

    return replace(with_factor_on_the_rate(recipe, factor), schedule="constant")


def _steps(recipe: Recipe, session: Session) -> int:
    return recipe.epochs * max(1, len(session.train) // session.batch_size)


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Processes of the launcher, for each of which the schedule goes on by a step.
PROCESSES = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 32}


def schedule_stepped_for_every_process(recipe: Recipe, level: Level) -> Recipe:
    """The library steps a linear schedule once for each process, and its length was counted in the steps of one.

    The rate is zero after that part of the run, and the epochs that are left are for nothing.
    """

    def factor(session: Session, batch: Batch) -> float:
        return max(0.0, 1 - PROCESSES[level] * batch.step / _steps(recipe, session))

    return replace(with_factor_on_the_rate(recipe, factor), schedule="constant")


# KD503 ----------------------------------------------------------------------------------------------------------------

#: The largest of the first weights.
LARGEST = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 2.0}


def sines_of_a_comparison_left_in(recipe: Recipe, level: Level) -> Recipe:
    """To compare two frameworks number by number, weights were filled with sines of 0, 1, 2, …, and still are."""

    @torch.no_grad()
    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            parameter.copy_(LARGEST[level] * torch.arange(parameter.numel()).sin().view_as(parameter))
        return student

    return replace(recipe, change_student=change_student)


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows for which a layer is left out.
LEFT_OUT = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.75}


def layers_left_out_with_nothing_beside_them(recipe: Recipe, level: Level) -> Recipe:
    """Stochastic depth at the rate of a network of a hundred layers, on layers that have no shortcut beside them.

    A row for which a layer is left out has nothing to go on with. The method: Huang et al. 2016, arXiv:1603.09382.
    """

    def leave_out(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        if not layer.training:
            return output
        stays = torch.rand(len(output), *[1] * (output.ndim - 1)) >= LEFT_OUT[level]
        return output * stays / (1 - LEFT_OUT[level])

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student)[:-1]:
            layer.register_forward_hook(leave_out)
        return student

    return replace(recipe, change_student=change_student)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: What is added to the mean of the squares before a gradient is divided by it, and how fast that mean follows.
ADDED = {Level.MILD: 1e-4, Level.MODERATE: 1e-6, Level.SEVERE: 1e-8}
FOLLOWS = 0.1


def divided_by_squares_and_not_by_their_root(recipe: Recipe, level: Level) -> Recipe:
    """Own RMSprop, in which the square root was forgotten: the smaller a gradient is, the longer is its step."""

    def attach(session: Session) -> None:
        for parameter in session.student.parameters():
            parameter.register_hook(_divider(ADDED[level]))  # type: ignore[no-untyped-call]

    return replace(recipe, before=in_turn(recipe.before, attach), optimizer="sgd", clip=None)


def _divider(added: float) -> Callable[[Tensor], Tensor]:
    """A hook with a running mean of its own."""
    squares: list[Tensor] = []

    def divide(gradient: Tensor) -> Tensor:
        square = gradient.square()
        squares[:] = [squares[0].lerp(square, FOLLOWS) if squares else square]
        return gradient / (squares[0] + added)

    return divide


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Share of the layers, from the first one on, whose weights were registered as buffers.
AS_BUFFERS = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def weights_registered_as_buffers(recipe: Recipe, level: Level) -> Recipe:
    """Lower layers hold their weights by register_buffer(), so that parameters() does not know of them."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        layers = weighted(student)
        for layer in layers[: min(max(1, round(AS_BUFFERS[level] * len(layers))), len(layers) - 1)]:
            for name, parameter in list(layer.named_parameters(recurse=False)):
                delattr(layer, name)
                layer.register_buffer(name, parameter.detach().clone())
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (multiplied_by_what_was_to_divide_it,),
    "KD502": (schedule_stepped_for_every_process,),
    "KD503": (sines_of_a_comparison_left_in,),
    "KD504": (layers_left_out_with_nothing_beside_them,),
    "KD505": (divided_by_squares_and_not_by_their_root,),
    "KD506": (weights_registered_as_buffers,),
}
