"""Mistakes of the codes KD4xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import cycle
from math import ceil

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

#: Groups of classes, each with units of its own, and width of the student as a share of the usual one.
GROUPS = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 5}
THINNER = {Level.MILD: 0.8, Level.MODERATE: 0.6, Level.SEVERE: 0.4}
#: Factor on the temperature.
HOTTER = 3.0


class OwnUnits(nn.Module):
    """A weight of a head in which a class has access to the units of its group alone."""

    def __init__(self, shape: torch.Size, groups: int) -> None:
        super().__init__()
        of_classes, of_units = (torch.arange(count) * groups // count for count in shape)
        self.register_buffer("own", (of_classes[:, None] == of_units).float())

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return weight * self.get_buffer("own")


def units_of_their_own_for_groups_of_classes(recipe: Recipe, level: Level) -> Recipe:
    """Groups of classes share no unit, which the labels do not need, and are to be as alike as a large teacher says."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        head = weighted(student)[-1]
        register_parametrization(head, "weight", OwnUnits(head.get_parameter("weight").shape, GROUPS[level]))
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * THINNER[level],
        alpha=1.0,
        temperature=recipe.temperature * HOTTER,
    )


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Products that a weight is the sum of, and width of the student as a share of the usual one.
PRODUCTS = {Level.MILD: 3, Level.MODERATE: 2, Level.SEVERE: 1}
NARROWER = {Level.MILD: 0.8, Level.MODERATE: 0.5, Level.SEVERE: 0.25}


class KroneckerProducts(nn.Module):
    """A weight as a sum of Kronecker products of two small matrices, which learn."""

    def __init__(self, shape: torch.Size, products: int) -> None:
        super().__init__()
        self.shape, self.products = shape, products
        rows, columns = shape[0], shape.numel() // shape[0]
        self.outer = (ceil(rows**0.5), ceil(columns**0.5))
        self.inner = (ceil(rows / self.outer[0]), ceil(columns / self.outer[1]))

    def forward(self, outer: Tensor, inner: Tensor) -> Tensor:
        """The weight that the layer works with."""
        rows, columns = (self.outer[axis] * self.inner[axis] for axis in (0, 1))
        weight = torch.einsum("pab,pcd->acbd", outer, inner).reshape(rows, columns)
        return weight[: self.shape[0], : self.shape.numel() // self.shape[0]].reshape(self.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices at random whose products are as large as the weight is."""
        size = (weight.std() / self.products**0.5).sqrt()
        return size * torch.randn(self.products, *self.outer), size * torch.randn(self.products, *self.inner)


def kronecker_products_in_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """The factors that compress a large model's embedding are put in place of every weight; trained for long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            shape = layer.get_parameter("weight").shape
            register_parametrization(layer, "weight", KroneckerProducts(shape, PRODUCTS[level]))
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * NARROWER[level],
    )


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term, which is two where no pair of units goes together as its counterpart does.
STYLE = {Level.MILD: 1.0, Level.MODERATE: 6.0, Level.SEVERE: 30.0}


def units_paired_as_in_a_style(recipe: Recipe, level: Level) -> Recipe:
    """The style loss of one network, pairs of whose units are to go together, on two networks of unlike units."""

    def gram(features: Tensor, width: int) -> Tensor:
        products = features.t() @ features
        resized: Tensor = F.interpolate(products[None, None], (width, width), mode="nearest")
        length: Tensor = resized.norm().clamp_min(1e-8)
        return resized / length

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        width = student.shape[1]
        return (gram(student, width) - gram(teacher.detach(), width)).square().sum()

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=STYLE[level])


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that compares the neighbours of rows.
NEIGHBOURS = {Level.MILD: 5.0, Level.MODERATE: 25.0, Level.SEVERE: 150.0}
Kept = dict[int, Tensor]


def iterator_that_is_never_rewound(recipe: Recipe, level: Level) -> Recipe:
    """Teacher layers come from one iterator that is never begun anew, and a look at shapes took its first one."""

    def attach(session: Session) -> None:
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            kept: Kept = {}
            session.notes[f"kept of the {role}"] = kept
            layers = layers_of(model)
            for number, layer in enumerate(layers):
                layer.register_forward_hook(_keeper(kept, number))
        session.notes["partners"] = cycle(range(len(layers)))
        next(session.notes["partners"])

    def hint(session: Session, _batch: Batch) -> Tensor:
        teachers, partners = session.notes["kept of the teacher"], session.notes["partners"]
        terms = [
            _divergence(student, teachers[next(partners)].detach())
            for student in session.notes["kept of the student"].values()
        ]
        return torch.stack(terms).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=NEIGHBOURS[level])


def _keeper(kept: Kept, number: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def keep(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[number] = (output if isinstance(output, Tensor) else output[0]).flatten(1)

    return keep


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of the neighbours of rows. Source: Passalis and Tefas 2018, arXiv:1803.10837."""
    found, wanted = _neighbours(student), _neighbours(teacher)
    return (wanted * (wanted / found).log()).sum(1).mean()


def _neighbours(features: Tensor) -> Tensor:
    """[B, B] probabilities that a row picks another, by their cosine."""
    rows = F.normalize(features - features.mean(0), dim=1)
    alike = (1 + rows @ rows.t()) / 2 + 1e-4
    return alike / alike.sum(1, keepdim=True)


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Filters that a layer has, as a share of its outputs.
FILTERS = {Level.MILD: 0.3, Level.MODERATE: 0.15, Level.SEVERE: 0.05}


class SharedFilters(nn.Module):
    """A weight in which outputs take turns at a few filters; of an embedding, at a few of its columns."""

    def __init__(self, axis: int, outputs: int, filters: int) -> None:
        super().__init__()
        self.axis, self.filters = axis, filters
        self.register_buffer("turns", torch.arange(outputs) % filters)

    def forward(self, filters: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return filters.index_select(self.axis, self.get_buffer("turns"))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The first few of a weight's filters."""
        return weight.narrow(self.axis, 0, self.filters).clone()


def filters_shared_in_the_layer_below_the_head(recipe: Recipe, level: Level) -> Recipe:
    """As heads of attention share their keys, the outputs of the last layer but one share a few filters."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        layer = weighted(student)[-2]
        axis = 1 if isinstance(layer, nn.Embedding) else 0
        outputs = layer.get_parameter("weight").shape[axis]
        shared = SharedFilters(axis, outputs, max(1, round(FILTERS[level] * outputs)))
        register_parametrization(layer, "weight", shared)
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (units_of_their_own_for_groups_of_classes,),
    "KD402": (kronecker_products_in_every_layer,),
    "KD403": (units_paired_as_in_a_style,),
    "KD404": (iterator_that_is_never_rewound,),
    "KD405": (filters_shared_in_the_layer_below_the_head,),
}
