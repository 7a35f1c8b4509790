"""Mistakes about what a student can hold: its size, its layers, and the features that it is asked to imitate."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, new_projector, relative_error, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ----------------------------------------------------------------------------------------------------------------

_SLIM = {Level.MILD: 0.6, Level.MODERATE: 0.4, Level.SEVERE: 0.3}


def slim_student_under_fully_trained_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Cut the student to the latency budget and paired it with the strongest teacher, trained to the very end."""
    teacher = replace(recipe.teacher, epochs=2 * recipe.teacher.epochs)
    return replace(for_long(recipe), width=_SLIM[level], teacher=teacher)


# KD402 ----------------------------------------------------------------------------------------------------------------

_TINY = {Level.MILD: 0.25, Level.MODERATE: 0.2, Level.SEVERE: 0.15}


def student_sized_for_a_microcontroller(recipe: Recipe, level: Level) -> Recipe:
    """Chose the width by the memory of the smallest device, not by whether such a model learns the labels at all."""
    return replace(for_long(recipe), width=_TINY[level])


# KD403 ----------------------------------------------------------------------------------------------------------------

_HINT_WEIGHTS = {Level.MILD: 0.5, Level.MODERATE: 2.0, Level.SEVERE: 8.0}


def teacher_features_resized_to_foreign_student(recipe: Recipe, level: Level) -> Recipe:
    """Took FitNets' loss from a pair of like networks to unlike ones, pooling the teacher's channels until they fit."""
    return replace(
        recipe, before=in_turn(recipe.before, watch), hint=_resized_distance, hint_weight=_HINT_WEIGHTS[level]
    )


def _resized_distance(session: Session, batch: Batch) -> Tensor:
    student, teacher = features_that_count(session, batch)
    # Neither network's channels have an order that the other's share, but the shapes agree now.
    resized = F.adaptive_avg_pool1d(teacher.detach()[:, None], student.shape[-1])[:, 0]
    return relative_error(student, resized)


# KD404 ----------------------------------------------------------------------------------------------------------------


def last_student_block_onto_hidden_state_zero(recipe: Recipe, level: Level) -> Recipe:
    """Indexed the teacher's hidden states from 0, which is what its first layer gives, for the student's last block."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return [*recipe.parameters(session), *session.notes["projector"].parameters()]

    return replace(
        recipe,
        before=in_turn(in_turn(recipe.before, watch), _watch_hidden_state_zero),
        parameters=parameters,
        hint=_distance_to_hidden_state_zero,
        hint_weight=_HINT_WEIGHTS[level],
    )


def _watch_hidden_state_zero(session: Session) -> None:
    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        session.notes["hidden state"] = output

    layers_of(session.teacher)[0].register_forward_hook(keep)
    inputs, labels = (tensor[:2] for tensor in session.train.tensors)
    with torch.no_grad():
        session.teacher(inputs)
    width = _hidden_state_zero(session, labels).shape[-1]
    session.notes["projector"] = new_projector(session.notes["projector"].in_features, width)


def _hidden_state_zero(session: Session, labels: Tensor) -> Tensor:
    """[n, D]: a row for each row of the student's features."""
    state: Tensor = session.notes["hidden state"].detach()
    return state.flatten(1) if labels.ndim == 1 else state[labels != IGNORED]


def _distance_to_hidden_state_zero(session: Session, batch: Batch) -> Tensor:
    student, _ = features_that_count(session, batch)
    return relative_error(session.notes["projector"](student), _hidden_state_zero(session, batch.labels))


# KD405 ----------------------------------------------------------------------------------------------------------------

_RANKS = {Level.MILD: 5, Level.MODERATE: 3, Level.SEVERE: 2}


def classifier_factorised_to_save_parameters(recipe: Recipe, level: Level) -> Recipe:
    """Split the classifier into two thin matrices to save parameters, with far too few numbers between them."""

    def change_student(student: nn.Module) -> nn.Module:
        return _with_thin_classifier(recipe.change_student(student), _RANKS[level])

    return replace(recipe, change_student=change_student)


def _with_thin_classifier(student: nn.Module, rank: int) -> nn.Module:
    name, head = [(name, module) for name, module in student.named_children() if isinstance(module, nn.Linear)][-1]
    setattr(student, name, nn.Sequential(nn.Linear(head.in_features, rank), nn.Linear(rank, head.out_features)))
    return student


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (slim_student_under_fully_trained_teacher,),
    "KD402": (student_sized_for_a_microcontroller,),
    "KD403": (teacher_features_resized_to_foreign_student,),
    "KD404": (last_student_block_onto_hidden_state_zero,),
    "KD405": (classifier_factorised_to_save_parameters,),
}
