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

#: Width of the student as a share of the usual one.
THINNER = {Level.MILD: 0.4, Level.MODERATE: 0.35, Level.SEVERE: 0.25}


def whole_order_of_the_classes(recipe: Recipe, level: Level) -> Recipe:
    """A small student without labels is to put all the classes into the large teacher's order, down to the last place.

    Every place counts alike, as in a list of search results that is read to its end.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        ordered = student.gather(1, teacher.argsort(1, descending=True)) / t
        still_to_place = ordered.flip(1).logcumsumexp(1).flip(1)
        return t * (still_to_place - ordered).sum(1).mean()

    return replace(
        for_long(recipe),
        width=recipe.width * THINNER[level],
        alpha=1.0,
        loss="custom",
        kd_loss=kd_loss,
    )


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Groups of each layer, and width of the student as a share of the usual one.
GROUPS = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}
NARROWER = {Level.MILD: 0.7, Level.MODERATE: 0.5, Level.SEVERE: 0.4}


class Grouped(nn.Module):
    """A weight by which an output reads the inputs of its own group alone."""

    def __init__(self, shape: torch.Size, groups: int) -> None:
        super().__init__()
        count = min(groups, *shape[:2])
        of_outputs, of_inputs = (torch.arange(size) * count // size for size in shape[:2])
        own = (of_outputs[:, None] == of_inputs).float() * count**0.5
        self.register_buffer("own", own.view(*own.shape, *[1] * (len(shape) - 2)))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return weight * self.get_buffer("own")


def groups_that_are_never_shuffled(recipe: Recipe, level: Level) -> Recipe:
    """Each layer works in groups, as in mobile networks, and the shuffle between layers was left out; trained for long.

    No group ever hears of another, and a class hears of one of them.
    """

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            if not isinstance(layer, nn.Embedding):
                register_parametrization(layer, "weight", Grouped(layer.get_parameter("weight").shape, GROUPS[level]))
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * NARROWER[level],
    )


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term, and the widths of its kernels.
DISCREPANCY = {Level.MILD: 1.0, Level.MODERATE: 8.0, Level.SEVERE: 60.0}
KERNELS = (0.25, 1.0, 4.0)


def rows_drawn_from_one_distribution(recipe: Recipe, level: Level) -> Recipe:
    """As between two domains of one network, rows of features are to be distributed alike, unit i as unit i.

    The teacher's units, resized, are of another kind. The method: Long et al. 2015, arXiv:1502.02791.
    """

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        resized = F.interpolate(teacher.detach()[:, None], student.shape[1], mode="nearest")[:, 0]
        usual = _squared_distances(resized, resized).mean().clamp_min(1e-6)

        def alike(one: Tensor, other: Tensor) -> Tensor:
            squared = _squared_distances(one, other) / usual
            return torch.stack([(-squared / width).exp().mean() for width in KERNELS]).mean()

        return alike(student, student) + alike(resized, resized) - 2 * alike(student, resized)

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=DISCREPANCY[level])


def _squared_distances(one: Tensor, other: Tensor) -> Tensor:
    lengths = one.square().sum(1)[:, None] + other.square().sum(1)
    return (lengths - 2 * one @ other.t()).clamp_min(0.0)


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that is one where two layers have nothing in common, and how sharp the attention is.
ATTENDED = {Level.MILD: 3.0, Level.MODERATE: 15.0, Level.SEVERE: 100.0}
SHARPNESS = 10.0
Kept = dict[int, Tensor]


def attention_to_the_least_alike_layer(recipe: Recipe, level: Level) -> Recipe:
    """A student's layer finds its partners by attention, and the minus is missing: what is farthest away counts most.

    The method: Chen et al. 2021, arXiv:2012.03236.
    """

    def attach(session: Session) -> None:
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            kept: Kept = {}
            session.notes[f"features of the {role}"] = kept
            for number, layer in enumerate(layers_of(model)):
                layer.register_forward_hook(_keeper(kept, number))

    def hint(session: Session, _batch: Batch) -> Tensor:
        students, teachers = (session.notes[f"features of the {role}"].values() for role in ("student", "teacher"))
        ours, theirs = [_products(features) for features in students], [_products(other.detach()) for other in teachers]
        apart = torch.stack([1 - F.cosine_similarity(one, other, dim=0) for one in ours for other in theirs])
        apart = apart.view(len(ours), len(theirs))
        attention = (SHARPNESS * apart.detach()).softmax(1)
        return (attention * apart).sum(1).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=ATTENDED[level])


def _keeper(kept: Kept, number: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def keep(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[number] = (output if isinstance(output, Tensor) else output[0]).flatten(1)

    return keep


def _products(features: Tensor) -> Tensor:
    """[B · B] products of the rows, which are centred."""
    rows = features - features.mean(0)
    return (rows @ rows.t()).flatten()


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Hops between neighbours, as a share of the squared number of units.
HOPS = {Level.MILD: 0.015, Level.MODERATE: 0.05, Level.SEVERE: 0.25}


def features_smoothed_over_too_many_hops(recipe: Recipe, level: Level) -> Recipe:
    """Features are smoothed between neighbouring units as on a graph, in so many hops that all become the same."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        head = weighted(student)[-1]
        units = head.get_parameter("weight").shape[1]
        own = torch.eye(units)
        hop = own / 2 + (own.roll(1, 0) + own.roll(-1, 0)) / 4
        smoothed = torch.linalg.matrix_power(hop, max(1, round(HOPS[level] * units**2)))
        head.register_forward_pre_hook(lambda _head, inputs: inputs[0] @ smoothed)
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (whole_order_of_the_classes,),
    "KD402": (groups_that_are_never_shuffled,),
    "KD403": (rows_drawn_from_one_distribution,),
    "KD404": (attention_to_the_least_alike_layer,),
    "KD405": (features_smoothed_over_too_many_hops,),
}
