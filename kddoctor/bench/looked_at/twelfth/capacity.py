"""Mistakes in how much the student can hold, and in which features it is asked to hold."""

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


def student_shrunk_below_what_the_teacher_suits(recipe: Recipe, level: Level) -> Recipe:
    """Shrank the student for a smaller device and kept the large teacher, which it can follow only from afar."""
    share = {Level.MILD: 0.6, Level.MODERATE: 0.45, Level.SEVERE: 0.3}[level]
    return replace(for_long(recipe), width=recipe.width * share)


# KD402 ----------------------------------------------------------------------------------------------------------------


def student_of_a_handful_of_units(recipe: Recipe, level: Level) -> Recipe:
    """Set the width multiplier so low that a handful of units is left, too few for the labels themselves."""
    share = {Level.MILD: 0.25, Level.MODERATE: 0.2, Level.SEVERE: 0.15}[level]
    return replace(for_long(recipe), width=recipe.width * share)


# KD403 ----------------------------------------------------------------------------------------------------------------


def unlike_features_matched_unit_by_unit(recipe: Recipe, level: Level) -> Recipe:
    """Matched features of two unlike architectures unit by unit, interpolated to one width as among networks alike."""
    weight = {Level.MILD: 1.0, Level.MODERATE: 3.0, Level.SEVERE: 8.0}[level]

    def unit_by_unit(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        resized = F.interpolate(teacher[:, None], size=student.shape[-1], mode="linear")
        return relative_error(student, resized[:, 0].detach())

    return replace(recipe, before=in_turn(recipe.before, watch), hint=unit_by_unit, hint_weight=weight)


# KD404 ----------------------------------------------------------------------------------------------------------------


def last_features_mapped_to_the_first_layer(recipe: Recipe, level: Level) -> Recipe:
    """Took entry 0 of the teacher's list of layers for its last one, as the counterpart of the student's last."""
    weight = {Level.MILD: 0.5, Level.MODERATE: 1.5, Level.SEVERE: 3.0}[level]

    def with_projector(session: Session) -> Iterable[nn.Parameter]:
        return [*recipe.parameters(session), *session.notes["projector"].parameters()]

    return replace(
        recipe,
        before=in_turn(recipe.before, _watch_first_layer),
        parameters=with_projector,
        hint=_distance_to_first_layer,
        hint_weight=weight,
    )


def _watch_first_layer(session: Session) -> None:
    """Keep the teacher's first layer, too, and project the student's last features onto it."""
    watch(session)
    kept = session.notes["features"]
    layers_of(session.teacher)[0].register_forward_hook(lambda _module, _inputs, output: kept.update(first=output))
    with torch.no_grad():
        session.teacher(session.train.tensors[0][:2])
    width = _by_row(kept["first"], kept["student"].ndim).shape[-1]
    session.notes["projector"] = new_projector(kept["student"].shape[-1], width)


def _by_row(features: Tensor, dimensions: int) -> Tensor:
    """The mean over positions or pixels, where the student's features have none."""
    if features.ndim == 4:
        return features.mean((2, 3))
    return features.mean(1) if features.ndim > dimensions else features


def _distance_to_first_layer(session: Session, batch: Batch) -> Tensor:
    kept = session.notes["features"]
    student, first = kept["student"], _by_row(kept["first"], kept["student"].ndim)
    if batch.labels.ndim > 1:
        counts = batch.labels != IGNORED
        student, first = student[counts], first[counts]
    return relative_error(session.notes["projector"](student), first.detach())


# KD405 ----------------------------------------------------------------------------------------------------------------


def head_factorised_through_very_few_units(recipe: Recipe, level: Level) -> Recipe:
    """Factorised the student's head through very few units, to save parameters."""
    units = {Level.MILD: 6, Level.MODERATE: 3, Level.SEVERE: 2}[level]

    def with_two_factors(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        name, head = list(changed.named_children())[-1]
        assert isinstance(head, nn.Linear)
        factors = nn.Linear(head.in_features, units, bias=False), nn.Linear(units, head.out_features)
        setattr(changed, name, nn.Sequential(*factors))
        return changed

    return replace(recipe, change_student=with_two_factors)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (student_shrunk_below_what_the_teacher_suits,),
    "KD402": (student_of_a_handful_of_units,),
    "KD403": (unlike_features_matched_unit_by_unit,),
    "KD404": (last_features_mapped_to_the_first_layer,),
    "KD405": (head_factorised_through_very_few_units,),
}
