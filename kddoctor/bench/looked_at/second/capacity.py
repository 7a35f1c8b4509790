"""Mistakes of the codes KD4xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD401 ----------------------------------------------------------------------------------------------------------------

#: Width of the student as a share of the usual one, and how many times as long teacher and student learn.
SMALL = {Level.MILD: 0.45, Level.MODERATE: 0.3, Level.SEVERE: 0.2}
TEACHER_LONGER, STUDENT_LONGER = 3, 2


def after_an_overtrained_teacher(recipe: Recipe, level: Level) -> Recipe:
    """A small student, without labels, is to follow a teacher that learnt until its function was intricate."""
    return replace(
        recipe,
        width=recipe.width * SMALL[level],
        epochs=recipe.epochs * STUDENT_LONGER,
        schedule="cosine",
        alpha=1.0,
        teacher=replace(recipe.teacher, epochs=recipe.teacher.epochs * TEACHER_LONGER, weight_decay=0.0),
    )


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Share of the weights that pruning left, and how many times as long the training is.
LEFT = {Level.MILD: 0.2, Level.MODERATE: 0.15, Level.SEVERE: 0.1}
LONGER = 2


def pruned_before_training(recipe: Recipe, level: Level) -> Recipe:
    """The usual width, but all but a few weights are pruned before the training and stay zero; trained for long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for weight in student.parameters():
            if weight.ndim > 1:
                _prune(weight, LEFT[level])
        return student

    return replace(recipe, change_student=change_student, epochs=recipe.epochs * LONGER, schedule="cosine")


def _prune(weight: nn.Parameter, share: float) -> None:
    kept = (torch.rand(weight.shape) < share).to(weight.dtype)
    with torch.no_grad():
        weight.mul_(kept / share**0.5)
    weight.register_hook(_masked(kept))  # type: ignore[no-untyped-call]


def _masked(kept: Tensor) -> Callable[[Tensor], Tensor]:
    def mask(gradient: Tensor) -> Tensor:
        return gradient * kept

    return mask


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term, as a paper on networks of one family gives it.
SELECTIVITY = {Level.MILD: 30.0, Level.MODERATE: 150.0, Level.SEVERE: 600.0}
MOMENTS = {Level.MILD: 0.1, Level.MODERATE: 0.5, Level.SEVERE: 3.0}


def neuron_selectivity(recipe: Recipe, level: Level) -> Recipe:
    """What single units respond to is to be distributed as in the teacher, whose units are of another kind."""

    def kernel(one: Tensor, other: Tensor) -> Tensor:
        return (one.t() @ other).square().mean()

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = (F.normalize(features, dim=0) for features in features_that_count(session, batch))
        teacher = teacher.detach()
        return kernel(student, student) + kernel(teacher, teacher) - 2 * kernel(student, teacher)

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=SELECTIVITY[level])


def moments_of_every_unit(recipe: Recipe, level: Level) -> Recipe:
    """Mean and deviation of each unit are matched as between twins; where the widths differ, they are resized."""

    def moments(features: Tensor, width: int) -> Tensor:
        both = torch.stack([features.mean(0), features.std(0)])
        resized: Tensor = F.interpolate(both[None], width, mode="nearest")[0]
        return resized

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        width = student.shape[1]
        return F.mse_loss(moments(student, width), moments(teacher.detach(), width))

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=MOMENTS[level])


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that compares how alike the rows are in two layers.
ALIKE = {Level.MILD: 20.0, Level.MODERATE: 60.0, Level.SEVERE: 200.0}
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Embedding, nn.GRU, nn.LSTM, nn.Linear)


def first_layer_after_the_last(recipe: Recipe, level: Level) -> Recipe:
    """Student layer i is paired with teacher layer i - 1, which for the first layer is Python's last one."""
    return _with_pairs(recipe, ALIKE[level], lambda student: student - 1)


def loop_variable_bound_late(recipe: Recipe, level: Level) -> Recipe:
    """Hooks that are made in a loop read its variable after it: every layer is paired with the teacher's last."""
    return _with_pairs(recipe, ALIKE[level], lambda _student: -1)


def _with_pairs(recipe: Recipe, weight: float, partner: Callable[[int], int]) -> Recipe:
    """A hint on similarities between rows, without projectors, in all layers of the student."""

    def attach(session: Session) -> None:
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            layers = [layer for layer in model.modules() if isinstance(layer, LAYERS)]
            session.notes[role] = kept = [torch.zeros(0)] * len(layers)
            for number, layer in enumerate(layers):
                layer.register_forward_hook(partial(_keep, kept, number))

    def hint(session: Session, _batch: Batch) -> Tensor:
        students, teachers = session.notes["student"], session.notes["teacher"]
        terms = [
            F.mse_loss(_alike(students[number]), _alike(teachers[partner(number)].detach()))
            for number in range(len(students))
        ]
        return torch.stack(terms).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=weight)


def _keep(kept: list[Tensor], number: int, _layer: nn.Module, _inputs: object, output: Any) -> None:
    kept[number] = (output if isinstance(output, Tensor) else output[0]).flatten(1)


def _alike(features: Tensor) -> Tensor:
    """[B, B] cosines between rows that are centred."""
    rows = F.normalize(features - features.mean(0), dim=1)
    return rows @ rows.t()


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Numbers that are left of a row of features, as a share of them.
POOLED = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.1}


def pooled_before_the_head(recipe: Recipe, level: Level) -> Recipe:
    """Units are averaged in groups before the head, as if neighbours among them meant the same."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        head = [module for module in student.modules() if isinstance(module, nn.Linear)][-1]
        head.register_forward_pre_hook(partial(_in_groups, max(1, round(POOLED[level] * head.in_features))))
        return student

    return replace(recipe, change_student=change_student)


def _in_groups(groups: int, _head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    features = inputs[0].reshape(-1, inputs[0].shape[-1])
    pooled = F.adaptive_avg_pool1d(features[:, None], groups)
    return F.interpolate(pooled, features.shape[1], mode="nearest").view(inputs[0].shape)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (after_an_overtrained_teacher,),
    "KD402": (pruned_before_training,),
    "KD403": (neuron_selectivity, moments_of_every_unit),
    "KD404": (first_layer_after_the_last, loop_variable_bound_late),
    "KD405": (pooled_before_the_head,),
}
