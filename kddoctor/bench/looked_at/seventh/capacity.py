"""Mistakes of the codes KD4xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import LAYERS, weighted
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ----------------------------------------------------------------------------------------------------------------

#: Width of the student as a share of the usual one, units that speak for a row, and factor on the temperature.
THINNER = {Level.MILD: 0.7, Level.MODERATE: 0.6, Level.SEVERE: 0.5}
SPEAK = {Level.MILD: 0.5, Level.MODERATE: 0.4, Level.SEVERE: 0.3}
HOTTER = 3.0


def few_units_speak_for_a_row(recipe: Recipe, level: Level) -> Recipe:
    """For a chip that skips zeros, only the strongest units of a small student speak for a row.

    That is enough for the labels; without these it is to follow every shade of a large teacher.
    """

    def strongest(_head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        features = inputs[0]
        count = max(1, round(SPEAK[level] * features.shape[-1]))
        least = features.abs().topk(count, dim=-1).values[..., -1:]
        return features.where(features.abs() >= least, 0.0)

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        weighted(student)[-1].register_forward_pre_hook(strongest)
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * THINNER[level],
        alpha=1.0,
        temperature=recipe.temperature * HOTTER,
    )


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Numbers that learn in each layer, and width of the student as a share of the usual one.
NUMBERS = {Level.MILD: 160, Level.MODERATE: 48, Level.SEVERE: 16}
NARROWER = {Level.MILD: 0.7, Level.MODERATE: 0.5, Level.SEVERE: 0.35}


class RandomDirections(nn.Module):
    """A weight that starts anywhere and moves along a few directions, drawn once. Source: Li et al. 2018,
    arXiv:1804.08838.
    """

    def __init__(self, weight: Tensor, numbers: int) -> None:
        super().__init__()
        self.register_buffer("start", weight.detach().clone())
        self.register_buffer("directions", weight.detach().std() * torch.randn(numbers, *weight.shape))

    def forward(self, numbers: Tensor) -> Tensor:
        """The weight that the layer works with."""
        moved: Tensor = torch.tensordot(numbers, self.get_buffer("directions"), dims=1)
        return self.get_buffer("start") + moved

    def right_inverse(self, _weight: Tensor) -> Tensor:
        """Numbers of the first weight."""
        return torch.zeros(len(self.get_buffer("directions")))


def few_directions_in_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """A new student learns by an adapter with few numbers a layer, made for large models that know it all; for long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            directions = RandomDirections(layer.get_parameter("weight"), NUMBERS[level])
            register_parametrization(layer, "weight", directions, unsafe=True)
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * NARROWER[level],
    )


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term.
AS_CLASSES = {Level.MILD: 1.0, Level.MODERATE: 5.0, Level.SEVERE: 30.0}


def features_softened_as_if_units_were_classes(recipe: Recipe, level: Level) -> Recipe:
    """A softmax over units and a divergence, as for classes; the teacher's units, resized, are of another kind."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        resized = F.interpolate(teacher.detach()[:, None], student.shape[1], mode="linear", align_corners=True)[:, 0]
        return F.kl_div(log_p(student), p(resized), reduction="batchmean")

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=AS_CLASSES[level])


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that compares how alike rows are.
ALIKE = {Level.MILD: 20.0, Level.MODERATE: 100.0, Level.SEVERE: 500.0}


def layers_sorted_by_name(recipe: Recipe, level: Level) -> Recipe:
    """Outputs are collected under the layers' names and paired in the order of these as text: 11 comes before 3."""

    def attach(session: Session) -> None:
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            kept: dict[str, Tensor] = {}
            session.notes[f"outputs of the {role}"] = kept
            for name, layer in model.named_modules():
                if isinstance(layer, LAYERS):
                    layer.register_forward_hook(_keeper(kept, name))

    def hint(session: Session, _batch: Batch) -> Tensor:
        students, teachers = (session.notes[f"outputs of the {role}"] for role in ("student", "teacher"))
        # The last ones first: the heads were to be a pair.
        pairs = zip(sorted(students, reverse=True), sorted(teachers, reverse=True), strict=False)
        return torch.stack([_unlike(students[ours], teachers[theirs].detach()) for ours, theirs in pairs]).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=ALIKE[level])


def _keeper(kept: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def keep(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[name] = (output if isinstance(output, Tensor) else output[0]).flatten(1)

    return keep


def _unlike(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the cosines between rows. Source: Tung & Mori 2019, arXiv:1907.09682."""
    return F.mse_loss(_cosines(student), _cosines(teacher))


def _cosines(features: Tensor) -> Tensor:
    """[B, B] of the rows, which are centred."""
    rows = F.normalize(features - features.mean(0), dim=1)
    return rows @ rows.t()


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Bits of a row's hash, as a share of its features; one at the least.
BITS = {Level.MILD: 1.0, Level.MODERATE: 0.4, Level.SEVERE: 0.15}


class Hash(nn.Module):
    """Features as a few signs along random axes, with the gradient of a tanh, and back at the full width."""

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.register_buffer("axes", torch.randn(width, bits) / width**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """[…, width] to […, width]."""
        axes = self.get_buffer("axes")
        along = (features @ axes).tanh()
        return (along + (along.sign() - along).detach()) @ axes.t()


def hash_of_few_bits_below_the_head(recipe: Recipe, level: Level) -> Recipe:
    """For a fast search the features below the head are hashed, and the hash has the bits of a far smaller index."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        head = weighted(student)[-1]
        width = head.get_parameter("weight").shape[1]
        hashed = Hash(width, max(1, round(BITS[level] * width)))
        head.register_forward_pre_hook(lambda _head, inputs: hashed(inputs[0]))
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (few_units_speak_for_a_row,),
    "KD402": (few_directions_in_every_layer,),
    "KD403": (features_softened_as_if_units_were_classes,),
    "KD404": (layers_sorted_by_name,),
    "KD405": (hash_of_few_bits_below_the_head,),
}
