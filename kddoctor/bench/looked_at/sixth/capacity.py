"""Mistakes of the codes KD4xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ----------------------------------------------------------------------------------------------------------------

#: Width of the student as a share of the usual one, and factor on the temperature.
THINNER = {Level.MILD: 0.7, Level.MODERATE: 0.5, Level.SEVERE: 0.35}
HOTTER = 3.0


class Positive(nn.Module):
    """A weight without negative values."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return weight.abs()


def evidence_for_a_class_and_never_against(recipe: Recipe, level: Level) -> Recipe:
    """So that it can be explained, a small student's head adds up evidence for a class and never against it.

    That is enough for the labels; without these it is to follow every shade of a large teacher.
    """

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        register_parametrization(weighted(student)[-1], "weight", Positive())
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * THINNER[level],
        alpha=1.0,
        temperature=recipe.temperature * HOTTER,
    )


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Side of a block, which has as many numbers of its own, and width of the student as a share of the usual one.
BLOCK = {Level.MILD: 4, Level.MODERATE: 12, Level.SEVERE: 64}
NARROWER = {Level.MILD: 0.7, Level.MODERATE: 0.5, Level.SEVERE: 0.25}


class Circulant(nn.Module):
    """A weight of square blocks, each row of which is the one above it moved on by one place."""

    def __init__(self, shape: torch.Size, block: int) -> None:
        super().__init__()
        self.shape, self.block = shape, block
        rows, columns = torch.arange(shape[0]), torch.arange(shape.numel() // shape[0])
        across = ceil(len(columns) / block)
        places = (rows[:, None] // block * across + columns // block) * block + (columns - rows[:, None]) % block
        self.register_buffer("places", places)

    def forward(self, numbers: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return numbers[self.get_buffer("places")].reshape(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Numbers at random, as large as the weight's."""
        return weight.std() * torch.randn(int(self.get_buffer("places").max()) + 1)


def circulant_blocks_in_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """The circulant blocks that a chip for large networks multiplies fast, in every layer of this one; for long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            register_parametrization(layer, "weight", Circulant(layer.get_parameter("weight").shape, BLOCK[level]))
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * NARROWER[level],
    )


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term.
ACTIVATIONS = {Level.MILD: 0.5, Level.MODERATE: 3.0, Level.SEVERE: 20.0}


def activations_distributed_alike(recipe: Recipe, level: Level) -> Recipe:
    """In each row what units put out is to be distributed as in the teacher, whose layer is of another kind."""

    def by_size(features: Tensor, width: int) -> Tensor:
        ordered = features.sort(dim=1).values
        return F.interpolate(ordered[:, None], width, mode="linear", align_corners=True)[:, 0]

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        width = student.shape[1]
        return relative_error(by_size(student, width), by_size(teacher.detach(), width))

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=ACTIVATIONS[level])


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that compares how alike rows are.
SIMILARITIES = {Level.MILD: 3.0, Level.MODERATE: 15.0, Level.SEVERE: 100.0}


def counted_down_from_minus_zero(recipe: Recipe, level: Level) -> Recipe:
    """Layers are paired from the last one down; the teacher's are taken as [-i], and with i = 0 that is the first."""

    def attach(session: Session) -> None:
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            kept: dict[int, Tensor] = {}
            session.notes[f"outputs of the {role}"] = kept
            layers = layers_of(model)
            for number, layer in enumerate(layers):
                layer.register_forward_hook(_keeper(kept, number))

    def hint(session: Session, _batch: Batch) -> Tensor:
        students, teachers = (list(session.notes[f"outputs of the {role}"].values()) for role in ("student", "teacher"))
        count = min(len(students), len(teachers))
        terms = [_unlike(students[::-1][i], teachers[-i].detach()) for i in range(count)]
        return torch.stack(terms).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=SIMILARITIES[level])


def _keeper(kept: dict[int, Tensor], number: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def keep(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[number] = (output if isinstance(output, Tensor) else output[0]).flatten(1)

    return keep


def _unlike(student: Tensor, teacher: Tensor) -> Tensor:
    """One less the similarity of two similarities of rows. Source: Cortes et al. 2012, arXiv:1203.0550."""
    found, wanted = _similarities(student), _similarities(teacher)
    return 1 - F.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)


def _similarities(features: Tensor) -> Tensor:
    """[B, B] of the rows, which are centred."""
    rows = features - features.mean(0)
    return rows @ rows.t()


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Features that the head reads, as a share of all.
READ = {Level.MILD: 0.3, Level.MODERATE: 0.15, Level.SEVERE: 0.05}


def head_sliced_for_a_smaller_model(recipe: Recipe, level: Level) -> Recipe:
    """The number of features was a constant of a smaller model: a slice takes the first ones and no others."""

    def slice_features(_head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        features = inputs[0]
        read = max(1, round(READ[level] * features.shape[-1]))
        return F.pad(features[..., :read], (0, features.shape[-1] - read))

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        weighted(student)[-1].register_forward_pre_hook(slice_features)
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (evidence_for_a_class_and_never_against,),
    "KD402": (circulant_blocks_in_every_layer,),
    "KD403": (activations_distributed_alike,),
    "KD404": (counted_down_from_minus_zero,),
    "KD405": (head_sliced_for_a_smaller_model,),
}
