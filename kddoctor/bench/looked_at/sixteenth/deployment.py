"""Mistakes between the end of the training and the model that is served."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD701 ----

_AVERAGED = {Level.MILD: 0.995, Level.MODERATE: 0.998, Level.SEVERE: 0.9995}


def moving_average_too_slow_for_the_run(recipe: Recipe, level: Level) -> Recipe:
    """Shipped the moving average of the weights, with the decay of a run that is a hundred times as long."""

    def begin(session: Session) -> None:
        session.notes["average"] = {name: value.clone() for name, value in session.student.state_dict().items()}

    def answers(session: Session, batch: Batch) -> Tensor:
        _follow(session.notes["average"], session.student, _AVERAGED[level])
        return recipe.answers(session, batch)

    def ship(session: Session) -> None:
        session.student.load_state_dict(session.notes["average"])

    before, after = in_turn(recipe.before, begin), in_turn(recipe.after, ship)
    return replace(recipe, before=before, answers=answers, after=after)


@torch.no_grad()
def _follow(average: dict[str, Tensor], student: nn.Module, decay: float) -> None:
    for name, value in student.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


# KD702 ----

_BEYOND = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}


def served_with_the_range_of_an_older_release(recipe: Recipe, level: Level) -> Recipe:
    """Evaluated behind the service's input checks, which clip what is above the range of an older release."""

    def serve(session: Session) -> None:
        seen = session.train.tensors[0].flatten()
        limit = seen.double().sort().values[int((1 - _BEYOND[level]) * (len(seen) - 1))]
        session.student.register_forward_pre_hook(lambda _module, given: (_checked(given[0], limit), *given[1:]))

    return replace(recipe, after=in_turn(recipe.after, serve))


def _checked(inputs: Tensor, limit: Tensor) -> Tensor:
    """Measurements stop at the limit; numbers beyond it are unknown, which is 0."""
    if inputs.is_floating_point():
        return inputs.clamp(max=float(limit))
    return inputs.masked_fill(inputs > limit, 0)


# KD703 ----

_BITS = {Level.MILD: 5, Level.MODERATE: 3, Level.SEVERE: 2}


def one_step_size_for_all_tensors(recipe: Recipe, level: Level) -> Recipe:
    """Rounded all weights to few bits with one step size, taken from the largest weight of the whole model."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        parameters = [parameter for parameter in session.student.parameters() if parameter.is_floating_point()]
        step = max(float(parameter.abs().max()) for parameter in parameters) / (2 ** (_BITS[level] - 1) - 1)
        for parameter in parameters:
            parameter.copy_((parameter / step).round() * step)

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----

_WANTED = {Level.MILD: 1.0, Level.MODERATE: 1.02, Level.SEVERE: 1.05}


def born_again_promised(recipe: Recipe, level: Level) -> Recipe:
    """Promised a student that beats its teacher, from a paper whose students are as large as theirs."""
    return replace(recipe, wanted={**(recipe.wanted or {}), "retention": _WANTED[level]})


# KD705 ----

_COPIES = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 10}


def teacher_from_oversampled_positives(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher with each positive several times over, and never took the shifted prior out again."""

    def oversampled(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.teacher.data(data).tensors
        times = torch.where(labels.reshape(len(labels), -1)[:, 0] == 1, _COPIES[level], 1)
        rows = torch.arange(len(labels)).repeat_interleave(times)
        return TensorDataset(inputs[rows], labels[rows])

    return replace(recipe, teacher=replace(recipe.teacher, data=oversampled))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (moving_average_too_slow_for_the_run,),
    "KD702": (served_with_the_range_of_an_older_release,),
    "KD703": (one_step_size_for_all_tensors,),
    "KD704": (born_again_promised,),
    "KD705": (teacher_from_oversampled_positives,),
}
