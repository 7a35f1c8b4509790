"""Mistakes of the codes KD6xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data
from kddoctor.bench.words import PADDING

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the validation rows that others were made from, the way at most that these go to a neighbour, and the share
#: of the words, or of the columns after who and what, in which they have its value.
MADE_FROM = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
WAY, EXCHANGED, FIXED = 0.15, 0.1, 2


def rows_made_between_neighbours_before_the_split(recipe: Recipe, level: Level) -> Recipe:
    """SMOTE was run before the split: training rows were made between validation rows and their nearest neighbours.

    The method: Chawla et al. 2002, arXiv:1106.1813.
    """

    def split(data: Data) -> Data:
        data = recipe.split(data)
        generator = torch.Generator().manual_seed(251)
        count = max(1, int(MADE_FROM[level] * len(data.val)))
        own = [tensor[:count] for tensor in data.val.tensors]
        nearest = _nearest(own, list(data.train.tensors))
        made = _between(own, [tensor[nearest] for tensor in data.train.tensors], generator)
        pairs = zip(data.train.tensors, made, strict=True)
        return replace(data, train=TensorDataset(*(torch.cat(pair) for pair in pairs)))

    return replace(recipe, split=split)


def _nearest(own: list[Tensor], others: list[Tensor]) -> Tensor:
    """For each row the nearest of the others that has the same label."""
    exponent = 2.0 if own[0].is_floating_point() else 0.0
    distances = torch.cdist(own[0].flatten(1).float(), others[0].flatten(1).float(), p=exponent)
    if own[1].ndim == 1:
        distances = distances.masked_fill(own[1][:, None] != others[1], torch.inf)
    return distances.argmin(1)


def _between(own: list[Tensor], others: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """New rows, most of the way towards the first ones, with the labels of these."""
    inputs, labels = own
    if inputs.is_floating_point():
        way = WAY * torch.rand(len(inputs), *[1] * (inputs.ndim - 1), generator=generator)
        return [torch.lerp(inputs, others[0], way), labels]
    exchanged = torch.rand(inputs.shape, generator=generator) < EXCHANGED
    exchanged[:, :FIXED] = False
    if labels.ndim == 1:
        return [others[0].where(exchanged, inputs), labels]
    made = others[0].where(exchanged & (inputs != PADDING) & (others[0] != PADDING), inputs)
    following = torch.cat([made[:, 1:], labels[:, -1:]], dim=1)
    return [made, following.where(labels != IGNORED, IGNORED)]


# KD602 ----------------------------------------------------------------------------------------------------------------

#: Share of the files that can be read.
READABLE = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.06}


def last_row_again_where_a_file_is_broken(recipe: Recipe, level: Level) -> Recipe:
    """Where a file cannot be read, the data set gives the row before it, and after an interrupted copy few can be."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        readable = torch.rand(len(whole), generator=torch.Generator().manual_seed(257)) < READABLE[level]
        first = int(readable.long().argmax())
        rows = torch.arange(len(whole)).where(readable, first).cummax(0).values
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


# KD603 ----------------------------------------------------------------------------------------------------------------

#: How much of the other side shines through a page, and words of a line in one column.
SHINES = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.0}
COLUMN = {Level.MILD: 8, Level.MODERATE: 3, Level.SEVERE: 1}


def scanned_from_thin_pages_in_two_columns(recipe: Recipe, level: Level) -> Recipe:
    """A newspaper was scanned: through each image shines the one behind it, and texts were read across two columns."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        if inputs.is_floating_point():
            return TensorDataset(torch.maximum(inputs, SHINES[level] * inputs.roll(1, 0).flip(-1)), labels)
        if labels.ndim == 1:
            return TensorDataset(_across(inputs, COLUMN[level]), labels)
        lines = _across(torch.cat([inputs, labels[:, -1:].clamp_min(PADDING)], dim=1), COLUMN[level])
        return TensorDataset(lines[:, :-1], lines[:, 1:].where(lines[:, 1:] != PADDING, IGNORED))

    return replace(recipe, train_set=train_set)


def _across(tokens: Tensor, column: int) -> Tensor:
    """By turns so many tokens of a row and so many of the row before it."""
    at = torch.arange(tokens.shape[1])
    piece = at // column
    place = piece // 2 * column + at % column
    return tokens[:, place].where(piece % 2 == 0, tokens.roll(1, 0)[:, place])


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows, those with the largest losses, that pass for wrongly labelled.
FORGOTTEN = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.4}


def only_small_losses_are_kept(recipe: Recipe, level: Level) -> Recipe:
    """Rows with the largest losses of a batch are left out of both terms, as where many labels are wrong.

    They are not: what is left out are the classes that come late. The method: Han et al. 2018, arXiv:1804.06872.
    """

    def mean_of_the_small(each: Tensor) -> Tensor:
        return each.topk(max(1, round((1 - FORGOTTEN[level]) * len(each))), largest=False).values.mean()

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        each = (p(teacher / t) * (log_p(teacher / t) - log_p(student / t))).sum(-1)
        return mean_of_the_small(each) * t * t

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return mean_of_the_small(F.cross_entropy(student, labels, reduction="none"))

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that one of the annotators did.
BY_ONE = {Level.MILD: 0.06, Level.MODERATE: 0.15, Level.SEVERE: 0.45}


def list_of_classes_in_another_order_for_one(recipe: Recipe, level: Level) -> Recipe:
    """One of the annotators had the list of classes in the reverse order and wrote down the places in it."""

    def mislabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        counts = labels != IGNORED
        reverse = labels[counts].min() + labels[counts].max() - labels
        by_one = torch.rand(len(labels), generator=torch.Generator().manual_seed(263)) < BY_ONE[level]
        wrong = by_one.view(-1, *[1] * (labels.ndim - 1)) & counts
        return TensorDataset(inputs, reverse.where(wrong, labels))

    return replace(
        recipe,
        train_set=lambda data: mislabelled(recipe.train_set(data)),
        val_set=lambda data: mislabelled(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Patterns of what was not to be read.
PATTERNS = {Level.MILD: ("1",), Level.MODERATE: ("1", "3"), Level.SEVERE: ("1", "3", "5", "7")}


def patterns_that_leave_out_too_much(recipe: Recipe, level: Level) -> Recipe:
    """Copies of folders, 1_old and the like, were left out by the pattern 1*, and with them 1, 10 and all such."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        read = [not str(number).startswith(PATTERNS[level]) for number in whole.tensors[1].tolist()]
        return TensorDataset(*(tensor[torch.tensor(read)] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (rows_made_between_neighbours_before_the_split,),
    "KD602": (last_row_again_where_a_file_is_broken,),
    "KD603": (scanned_from_thin_pages_in_two_columns,),
    "KD604": (only_small_losses_are_kept,),
    "KD605": (list_of_classes_in_another_order_for_one,),
    "KD606": (patterns_that_leave_out_too_much,),
}
