"""Mistakes of the codes KD5xx."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD501 ----------------------------------------------------------------------------------------------------------------

#: How much of its cosine the earlier run had behind it when its optimizer was saved.
BEHIND_IT = {Level.MILD: 0.7, Level.MODERATE: 0.8, Level.SEVERE: 0.9}


def groups_of_a_run_that_had_ended(recipe: Recipe, level: Level) -> Recipe:
    """The optimizer's groups are loaded from an earlier run, and with them comes the rate that it had in the end."""
    rate = recipe.learning_rate * 0.5 * (1 + cos(pi * BEHIND_IT[level]))

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        groups: list[Any] = [{"params": list(recipe.parameters(session)), "lr": rate}]
        return groups

    return replace(recipe, parameters=parameters)


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Batches for each one after which the student takes a step.
FOR_EACH_STEP = {Level.MILD: 3, Level.MODERATE: 6, Level.SEVERE: 16}


def steps_left_to_a_critic_that_is_gone(recipe: Recipe, level: Level) -> Recipe:
    """In an adversarial loop the student took its turn after several steps of a critic.

    The critic is gone, the turns are still taken, and the epochs are the usual ones.
    """

    def attach(session: Session) -> None:
        def skip(parameter: Tensor) -> None:
            if not session.notes["turn"]:
                parameter.grad = None

        for parameter in session.student.parameters():
            parameter.register_post_accumulate_grad_hook(skip)  # type: ignore[no-untyped-call]

    def answers(session: Session, batch: Batch) -> Tensor:
        session.notes["turn"] = batch.step % FOR_EACH_STEP[level] == 0
        return recipe.answers(session, batch)

    return replace(recipe, before=in_turn(recipe.before, attach), answers=answers)


# KD503 ----------------------------------------------------------------------------------------------------------------

#: Times that each weight is corrected, and rows on which outputs are measured.
CORRECTED = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 4}
MEASURED = 64


def corrected_by_a_deviation_measured_once(recipe: Recipe, level: Level) -> Recipe:
    """First weights are divided by the deviation of what their layer puts out, again and again until that is one.

    It is measured before the loop and not in it: the first correction was enough, the others are too much. The method:
    Mishkin & Matas 2016, arXiv:1511.06422.
    """

    @torch.no_grad()
    def correct(session: Session) -> None:
        student, inputs = session.student.eval(), session.train.tensors[0][:MEASURED]
        outputs: list[Tensor] = []
        for layer in weighted(student):
            hook = layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
            student(inputs)
            hook.remove()
            deviation = outputs.pop().std()
            for _ in range(CORRECTED[level]):
                layer.get_parameter("weight").div_(deviation)
        student.train()

    return replace(recipe, before=in_turn(recipe.before, correct))


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Weight of a penalty on the covariances of a layer's outputs. Adam forgives more, as its steps do not grow with it.
COVARIANCES = {Level.MILD: 0.02, Level.MODERATE: 0.2, Level.SEVERE: 0.8}
FORGIVEN = 300.0


def covariances_summed_over_all_pairs(recipe: Recipe, level: Level) -> Recipe:
    """Units of a layer are to be uncorrelated: the weight was tuned on a mean over pairs, the penalty is their sum.

    The penalty: Cogswell et al. 2016, arXiv:1511.06068.
    """
    weight = COVARIANCES[level] * (1.0 if recipe.optimizer == "sgd" else FORGIVEN)

    def decorrelate(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if layer.training and output.requires_grad:
            rows = output.detach().flatten(1)
            rows = rows - rows.mean(0)
            # The rows times all covariances, less their share of the variances.
            penalty = 2 * (rows @ rows.t() @ rows / len(rows) - rows * rows.square().mean(0)) / len(rows)
            output.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: gradient + weight * penalty.view_as(gradient)
            )

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student)[:-1]:
            layer.register_forward_hook(decorrelate)
        return student

    return replace(recipe, change_student=change_student)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: Share of the tensors, from the last one on, in the group that was copied.
COPIED = {Level.MILD: 0.5, Level.MODERATE: 0.75, Level.SEVERE: 1.0}


def options_of_a_project_that_maximises(recipe: Recipe, level: Level) -> Recipe:
    """A group's options were copied from a project with a reward, maximize=True among them: the loss is climbed."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        found = list(recipe.parameters(session))
        own = len(found) - max(1, round(COPIED[level] * len(found)))
        groups: list[Any] = [{"params": found[:own]}, {"params": found[own:], "maximize": True}]
        return groups

    return replace(recipe, parameters=parameters)


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Share of the tensors, from the first one on, that were to learn at a part of the rate, and that part.
AT_A_PART = {Level.MILD: 0.25, Level.MODERATE: 0.4, Level.SEVERE: 0.6}
PART = 0.1


def part_of_the_rate_read_as_a_whole_number(recipe: Recipe, level: Level) -> Recipe:
    """Lower layers were to learn at a tenth of the rate; the option is read as an int, and int(0.1) is zero."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        found = list(recipe.parameters(session))
        lower = min(max(1, round(AT_A_PART[level] * len(found))), len(found) - 1)
        groups: list[Any] = [
            {"params": found[:lower], "lr": recipe.learning_rate * int(PART)},
            {"params": found[lower:]},
        ]
        return groups

    return replace(recipe, parameters=parameters)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (groups_of_a_run_that_had_ended,),
    "KD502": (steps_left_to_a_critic_that_is_gone,),
    "KD503": (corrected_by_a_deviation_measured_once,),
    "KD504": (covariances_summed_over_all_pairs,),
    "KD505": (options_of_a_project_that_maximises,),
    "KD506": (part_of_the_rate_read_as_a_whole_number,),
}
