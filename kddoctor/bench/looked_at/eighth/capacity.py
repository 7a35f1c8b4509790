"""Mistakes of the codes KD4xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from kddoctor.bench import losses
from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes, from the last one on, that lie in the table, and the student's width as a share of the usual.
IN_THE_TABLE = {Level.MILD: 0.4, Level.MODERATE: 0.6, Level.SEVERE: 0.9}
THINNER = {Level.MILD: 1.0, Level.MODERATE: 0.8, Level.SEVERE: 0.6}


class RowsAndColumns(nn.Module):
    """A weight of a head whose last classes lie in a table: each is the sum of a row's weight and of a column's."""

    def __init__(self, own: int, classes: int) -> None:
        super().__init__()
        self.own = own
        self.columns = ceil((classes - own) ** 0.5)
        self.register_buffer("places", torch.arange(classes - own))

    def forward(self, own: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """The weight that the layer works with."""
        places = self.get_buffer("places")
        return torch.cat([own, rows[places // self.columns] + columns[places % self.columns]])

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of the first classes, and for the others some at random whose sums are as large."""
        rows = ceil((len(weight) - self.own) / self.columns)
        ours, theirs = (torch.randn(count, weight.shape[1]) * weight.std() / 2**0.5 for count in (rows, self.columns))
        return weight[: self.own].clone(), ours, theirs


def table_of_classes_in_the_head(recipe: Recipe, level: Level) -> Recipe:
    """As is done for millions of words, a small student's classes lie in a table, whose rows and columns it scores.

    That is enough for the labels; without these it is to come near every logit of a large teacher.
    """

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        head = weighted(student)[-1]
        classes = len(head.get_parameter("weight"))
        own = classes - round(IN_THE_TABLE[level] * classes)
        register_parametrization(head, "weight", RowsAndColumns(own, classes))
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * THINNER[level],
        alpha=1.0,
        loss="mse",
        kd_loss=losses.mse,
    )


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Frequencies along each axis of a weight, and width of the student as a share of the usual one.
FREQUENCIES = {Level.MILD: 20, Level.MODERATE: 14, Level.SEVERE: 8}
NARROWER = {Level.MILD: 0.8, Level.MODERATE: 0.6, Level.SEVERE: 0.4}


class LowFrequencies(nn.Module):
    """A weight as a sum of a few slow cosines along its axes. Source: Chen et al. 2015, arXiv:1506.04449."""

    def __init__(self, shape: torch.Size, most: int) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("along_rows", _cosines(shape[0], most))
        self.register_buffer("along_columns", _cosines(shape.numel() // shape[0], most))

    def forward(self, numbers: Tensor) -> Tensor:
        """The weight that the layer works with."""
        weight: Tensor = self.get_buffer("along_rows") @ numbers @ self.get_buffer("along_columns").t()
        return weight.view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Numbers at random whose weight is as large as this one."""
        rows, columns = self.get_buffer("along_rows").shape[1], self.get_buffer("along_columns").shape[1]
        size: Tensor = weight.norm() / (rows * columns) ** 0.5
        return size * torch.randn(rows, columns)


def _cosines(length: int, most: int) -> Tensor:
    """[length, frequencies], each of them of length one."""
    waves = torch.cos(pi * (torch.arange(length)[:, None] + 0.5) * torch.arange(min(length, most)) / length)
    lengths: Tensor = waves.norm(dim=0)
    return waves / lengths


def few_frequencies_in_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """Filters of large networks are smooth and kept as a few frequencies; here every weight is, and it learns long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            shape = layer.get_parameter("weight").shape
            register_parametrization(layer, "weight", LowFrequencies(shape, FREQUENCIES[level]))
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * NARROWER[level],
    )


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term.
SPECTRUM = {Level.MILD: 0.5, Level.MODERATE: 2.0, Level.SEVERE: 6.0}


def spectrum_along_the_units(recipe: Recipe, level: Level) -> Recipe:
    """The spectrum of features is to be the teacher's, as between maps of two CNNs; units here lie in no order."""

    def spectrum(features: Tensor) -> Tensor:
        amplitudes: Tensor = torch.fft.rfft(features, norm="ortho").abs()
        return amplitudes

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        resized = F.interpolate(teacher.detach()[:, None], student.shape[1], mode="linear", align_corners=False)[:, 0]
        return relative_error(spectrum(student), spectrum(resized))

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=SPECTRUM[level])


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that compares the distances between rows; two where they are opposed, one where they differ.
OUT_OF_PLACE = {Level.MILD: 3.0, Level.MODERATE: 15.0, Level.SEVERE: 100.0}


def modules_that_begin_with_the_model(recipe: Recipe, level: Level) -> Recipe:
    """Student layer i goes with number i of the teacher's modules(), of which the first is the teacher itself."""

    def attach(session: Session) -> None:
        for role, modules in (
            ("student", layers_of(session.student)),
            ("teacher", list(session.teacher.modules())),
        ):
            kept: dict[int, Tensor] = {}
            session.notes[f"kept of the {role}"] = kept
            for number, module in enumerate(modules):
                module.register_forward_hook(_keeper(kept, number))

    def hint(session: Session, _batch: Batch) -> Tensor:
        students, teachers = (session.notes[f"kept of the {role}"] for role in ("student", "teacher"))
        terms = [_unlike(student, teachers[number].detach()) for number, student in students.items()]
        return torch.stack(terms).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=OUT_OF_PLACE[level])


def _keeper(kept: dict[int, Tensor], number: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[number] = (output if isinstance(output, Tensor) else output[0]).flatten(1)

    return keep


def _unlike(student: Tensor, teacher: Tensor) -> Tensor:
    """One less the correlation of the squared distances between rows."""
    found, wanted = _distances(student), _distances(teacher)
    return 1 - F.cosine_similarity(found - found.mean(), wanted - wanted.mean(), dim=0)


def _distances(features: Tensor) -> Tensor:
    """Of all pairs of rows."""
    lengths = features.square().sum(1)
    return (lengths[:, None] + lengths - 2 * features @ features.t()).flatten()


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Groups in which features are sorted.
GROUPS = {Level.MILD: 8, Level.MODERATE: 4, Level.SEVERE: 1}


def features_sorted_in_few_groups(recipe: Recipe, level: Level) -> Recipe:
    """Features are to be sorted in pairs; the size of a group is passed where the function takes the number of groups.

    In groups that large it is lost which unit a feature was of. The method: Anil et al. 2019, arXiv:1811.05381.
    """

    def sort(_head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        groups = inputs[0].tensor_split(GROUPS[level], dim=-1)
        return torch.cat([group.sort(dim=-1).values for group in groups], dim=-1)

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        weighted(student)[-1].register_forward_pre_hook(sort)
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (table_of_classes_in_the_head,),
    "KD402": (few_frequencies_in_every_layer,),
    "KD403": (spectrum_along_the_units,),
    "KD404": (modules_that_begin_with_the_model,),
    "KD405": (features_sorted_in_few_groups,),
}
