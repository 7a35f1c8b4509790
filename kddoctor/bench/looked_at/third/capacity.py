"""Mistakes of the codes KD4xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ----------------------------------------------------------------------------------------------------------------

#: Width of the student as a share of the usual one, beside weights of three values.
THINNER = {Level.MILD: 1.0, Level.MODERATE: 0.8, Level.SEVERE: 0.6}
#: Factors on the epochs and on the temperature.
HOTTER = 2.0


class ThreeValues(nn.Module):
    """Weights as minus, nothing or plus one value; their gradients pass through as they are."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weights that the layer works with."""
        magnitude = weight.detach().abs()
        large = magnitude > 0.7 * magnitude.mean()
        value = magnitude[large].mean() if large.any() else magnitude.mean()
        return weight + (large * weight.detach().sign() * value - weight.detach())


def three_values_for_every_shade(recipe: Recipe, level: Level) -> Recipe:
    """Weights of three values are enough for the labels, and are to follow every shade of a teacher without labels."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            register_parametrization(layer, "weight", ThreeValues())
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * THINNER[level],
        alpha=1.0,
        temperature=recipe.temperature * HOTTER,
    )


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Weights of a layer that share one value.
SHARING = {Level.MILD: 8, Level.MODERATE: 16, Level.SEVERE: 40}


def weights_shared_by_a_hash(recipe: Recipe, level: Level) -> Recipe:
    """The weights of each layer are looked up by a hash in a table that is far too short; trained for long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        generator = torch.Generator().manual_seed(103)
        for weight in student.parameters():
            if weight.ndim > 1:
                places = max(2, weight.numel() // SHARING[level])
                _share(weight, torch.randint(places, (weight.numel(),), generator=generator), places)
        return student

    return replace(for_long(recipe), change_student=change_student)


def _share(weight: nn.Parameter, place: Tensor, places: int) -> None:
    counts = torch.bincount(place, minlength=places).clamp_min(1)

    def mean_of_each(gradient: Tensor) -> Tensor:
        sums = torch.zeros(places, dtype=gradient.dtype).index_add(0, place, gradient.flatten())
        return (sums / counts)[place].view(gradient.shape)

    with torch.no_grad():
        table = torch.zeros(places).index_copy(0, place, weight.flatten())
        weight.copy_(table[place].view(weight.shape))
    weight.register_hook(mean_of_each)  # type: ignore[no-untyped-call]


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term, and distance from zero that a unit is to keep.
BOUNDARIES = {Level.MILD: 0.2, Level.MODERATE: 2.0, Level.SEVERE: 30.0}
MARGIN = 1.0


def on_where_the_teacher_is_on(recipe: Recipe, level: Level) -> Recipe:
    """Activation boundaries of twins: a unit is to be on where the teacher's unit in its place is, with a margin."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        resized = F.interpolate(teacher.detach()[:, None], student.shape[1], mode="nearest")[:, 0]
        sign = torch.where(resized > 0, 1.0, -1.0)
        return (MARGIN - sign * student).relu().square().mean()

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=BOUNDARIES[level])


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that is 1 where two layers have nothing in common, and 0 where they are alike.
KERNELS = {Level.MILD: 2.0, Level.MODERATE: 10.0, Level.SEVERE: 60.0}


def partners_drawn_and_never_sorted(recipe: Recipe, level: Level) -> Recipe:
    """Teacher layers are drawn anew for each epoch, as a paper has it, and the draw is never put into order."""

    def attach(session: Session) -> None:
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            layers = layers_of(model)
            session.notes[f"layers of the {role}"] = kept = [torch.zeros(0)] * len(layers)
            for number, layer in enumerate(layers):
                layer.register_forward_hook(_keeper(kept, number))

    def hint(session: Session, batch: Batch) -> Tensor:
        students, teachers = (session.notes[f"layers of the {role}"] for role in ("student", "teacher"))
        generator = torch.Generator().manual_seed(107 + batch.epoch)
        drawn = torch.randperm(len(teachers), generator=generator).tolist()
        terms = [
            1 - _alignment(student, teachers[drawn[number % len(drawn)]].detach())
            for number, student in enumerate(students)
        ]
        return torch.stack(terms).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=KERNELS[level])


def _keeper(kept: list[Tensor], number: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def keep(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[number] = (output if isinstance(output, Tensor) else output[0]).flatten(1)

    return keep


def _alignment(student: Tensor, teacher: Tensor) -> Tensor:
    """Linear centred kernel alignment of two layers, over the rows of a batch."""
    one, other = (_kernel(features) for features in (student, teacher))
    aligned: Tensor = (one * other).sum() / (one.norm() * other.norm()).clamp_min(1e-8)
    return aligned


def _kernel(features: Tensor) -> Tensor:
    rows = features - features.mean(0)
    return rows @ rows.t()


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Share of the units that pruning leaves of one layer.
UNITS_LEFT = {Level.MILD: 0.35, Level.MODERATE: 0.2, Level.SEVERE: 0.1}


def collapsed_by_global_pruning(recipe: Recipe, level: Level) -> Recipe:
    """One threshold for all layers: pruning took nearly all units of the layer with the most weights, and no others."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        layers = weighted(student)[:-1]
        largest = max(layers, key=lambda layer: layer.get_parameter("weight").numel())
        axis = 1 if isinstance(largest, nn.Embedding) else 0
        lengths = largest.get_parameter("weight").detach().movedim(axis, 0).flatten(1).norm(dim=1)
        kept = torch.zeros(len(lengths))
        kept[lengths.topk(max(1, round(UNITS_LEFT[level] * len(lengths)))).indices] = 1.0
        largest.register_forward_hook(partial(_masked, kept, 1 if isinstance(largest, nn.Conv1d | nn.Conv2d) else -1))
        return student

    return replace(recipe, change_student=change_student)


def _masked(kept: Tensor, axis: int, _layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return (output.movedim(axis, -1) * kept).movedim(-1, axis)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (three_values_for_every_shade,),
    "KD402": (weights_shared_by_a_hash,),
    "KD403": (on_where_the_teacher_is_on,),
    "KD404": (partners_drawn_and_never_sorted,),
    "KD405": (collapsed_by_global_pruning,),
}
