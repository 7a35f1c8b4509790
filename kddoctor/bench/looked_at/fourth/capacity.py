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
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ----------------------------------------------------------------------------------------------------------------

#: Width of the student as a share of the usual one, beside units that are on or off.
THINNER = {Level.MILD: 0.9, Level.MODERATE: 0.7, Level.SEVERE: 0.4}
#: Factor on the temperature.
HOTTER = 2.0


def units_that_are_on_or_off(recipe: Recipe, level: Level) -> Recipe:
    """Units of the student are on or off, which is enough for the labels, and are to give every shade of a teacher."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student)[:-1]:
            layer.register_forward_hook(_on_or_off)
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * THINNER[level],
        alpha=1.0,
        temperature=recipe.temperature * HOTTER,
    )


def _on_or_off(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    """One where the output is positive; its gradient is that of a hard sigmoid."""
    soft = (output + 0.5).clamp(0.0, 1.0)
    return soft + ((output > 0).to(output.dtype) - soft).detach()


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Rank of every weight.
RANK = {Level.MILD: 3, Level.MODERATE: 2, Level.SEVERE: 1}


class TwoFactors(nn.Module):
    """A weight as the product of two thin factors, both of which learn."""

    def __init__(self, shape: torch.Size, rank: int) -> None:
        super().__init__()
        self.shape, self.rank = shape, rank

    def forward(self, tall: Tensor, wide: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return (tall @ wide).view(self.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The factors nearest to a weight, made as long as it is."""
        flat = weight.detach().flatten(1)
        left, sizes, right = torch.linalg.svd(flat, full_matrices=False)
        kept = sizes[: self.rank]
        root = (kept * (flat.norm() / kept.norm().clamp_min(1e-8))).sqrt()
        return (left[:, : self.rank] * root).contiguous(), (root[:, None] * right[: self.rank]).contiguous()


def factors_of_an_adapter_in_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """Every layer is two factors with the rank of a large model's adapter, which is one or two; trained for long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            shape = layer.get_parameter("weight").shape
            register_parametrization(layer, "weight", TwoFactors(shape, RANK[level]))
        return student

    return replace(for_long(recipe), change_student=change_student)


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term, which is near 1 where no unit follows its counterpart.
TWINS = {Level.MILD: 1.0, Level.MODERATE: 5.0, Level.SEVERE: 40.0}


def each_unit_its_counterpart_and_no_other(recipe: Recipe, level: Level) -> Recipe:
    """Barlow's twins without being twins: unit i is to follow the teacher's i, resized, and be unlike all others."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        resized = F.interpolate(teacher.detach()[:, None], student.shape[1], mode="nearest")[:, 0]
        correlations = _standardised(student).t() @ _standardised(resized) / len(student)
        wrong = (correlations - torch.eye(len(correlations))).square()
        return wrong.sum() / len(wrong)

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=TWINS[level])


def _standardised(features: Tensor) -> Tensor:
    return (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-3).sqrt()


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that compares the distances between rows.
DISTANCES = {Level.MILD: 10.0, Level.MODERATE: 40.0, Level.SEVERE: 200.0}
Kept = dict[int, Tensor]


def nested_loops_for_a_zip(recipe: Recipe, level: Level) -> Recipe:
    """Two loops, one in the other, instead of pairs: each layer of the student is held against all of the teacher's."""

    def attach(session: Session) -> None:
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            kept: Kept = {}
            session.notes[f"outputs of the {role}"] = kept
            for number, layer in enumerate(layers_of(model)):
                layer.register_forward_hook(_keeper(kept, number))

    def hint(session: Session, _batch: Batch) -> Tensor:
        students, teachers = (session.notes[f"outputs of the {role}"].values() for role in ("student", "teacher"))
        wanted = [_distances(teacher.detach()) for teacher in teachers]
        found = [_distances(student) for student in students]
        return torch.stack([F.mse_loss(one, other) for one in found for other in wanted]).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=DISTANCES[level])


def _keeper(kept: Kept, number: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def keep(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[number] = (output if isinstance(output, Tensor) else output[0]).flatten(1)

    return keep


def _distances(features: Tensor) -> Tensor:
    """[B, B] squared distances between rows, in units of their mean. Source: Park et al. 2019, arXiv:1904.05068."""
    lengths = features.square().sum(1)
    squared = (lengths[:, None] + lengths - 2 * features @ features.t()).clamp_min(0.0)
    return squared / squared.mean().clamp_min(1e-8)


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Rows of features that the head is ever given.
CODES = {Level.MILD: 16, Level.MODERATE: 8, Level.SEVERE: 3}


def few_codes_before_the_head(recipe: Recipe, level: Level) -> Recipe:
    """The features below the head are replaced by the nearest row of a code book that learns and is far too short."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        head = [module for module in student.modules() if isinstance(module, nn.Linear)][-1]
        head.register_parameter("codes", nn.Parameter(torch.randn(CODES[level], head.in_features)))
        head.register_forward_pre_hook(_coded)
        return student

    return replace(recipe, change_student=change_student)


def _coded(head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    features = F.layer_norm(inputs[0], inputs[0].shape[-1:])
    codes = head.get_parameter("codes")
    nearest = torch.cdist(features.detach().reshape(-1, codes.shape[1]), codes.detach()).argmin(1)
    return codes[nearest].view(features.shape) + features - features.detach()


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (units_that_are_on_or_off,),
    "KD402": (factors_of_an_adapter_in_every_layer,),
    "KD403": (each_unit_its_counterpart_and_no_other,),
    "KD404": (nested_loops_for_a_zip,),
    "KD405": (few_codes_before_the_head,),
}
