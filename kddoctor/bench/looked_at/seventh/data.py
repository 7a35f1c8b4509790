"""Mistakes of the codes KD6xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.losses import kl
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data
from kddoctor.bench.words import PADDING

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the validation rows that were handed in before, with another value in one place.
HANDED_IN = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
#: Columns at the start that nobody corrects: who, and what.
FIXED = 2


def handed_in_again_after_a_correction(recipe: Recipe, level: Level) -> Recipe:
    """Forms can be handed in again with one value corrected, and the split takes both for rows of their own."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        again = min(len(data.train), int(HANDED_IN[level] * len(data.val)))
        pairs = list(zip(data.train.tensors, data.val.tensors, strict=True))
        inputs, labels = (torch.cat([train[:again], val[again:]]) for train, val in pairs)
        return replace(data, val=TensorDataset(_corrected(inputs, again), labels))

    return replace(recipe, split=split)


def _corrected(inputs: Tensor, rows: int) -> Tensor:
    """In each of the first rows one value is that of the row after it."""
    values = inputs.flatten(1).clone()
    generator = torch.Generator().manual_seed(227)
    at = torch.randint(FIXED, values.shape[1], (rows, 1), generator=generator)
    values[:rows] = values[:rows].scatter(1, at, values.roll(-1, 0)[:rows].gather(1, at))
    return values.view_as(inputs)


# KD602 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that were selected. Epochs are added, so that as many steps are taken.
SELECTED = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.06}
#: Buckets in which words, or users and films, are counted.
BUCKETS = 512


def core_set_of_too_few_rows(recipe: Recipe, level: Level) -> Recipe:
    """To save time a core set was selected, rows as far apart as possible, and it is too small to stand for all."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        rows = _far_apart(whole.tensors[0], max(2, int(SELECTED[level] * len(whole))))
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / SELECTED[level]))


def _far_apart(inputs: Tensor, count: int) -> Tensor:
    """Numbers of rows, each the farthest from those before it. Source: Sener & Savarese 2018, arXiv:1708.00489."""
    rows = inputs.flatten(1)
    if not inputs.is_floating_point():
        rows = torch.zeros(len(inputs), BUCKETS).scatter_add_(1, inputs % BUCKETS, torch.ones(inputs.shape))
    chosen = [0]
    nearest = (rows - rows[0]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (rows - rows[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


# KD603 ----------------------------------------------------------------------------------------------------------------

#: How far close-ups are enlarged, and share of the words used that are too common for a telegram.
ENLARGED = {Level.MILD: 1.15, Level.MODERATE: 1.3, Level.SEVERE: 1.5}
TOO_COMMON = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.7}


def close_ups_and_telegrams(recipe: Recipe, level: Level) -> Recipe:
    """The archive has close-ups, of which only the middle is seen, and texts without all the common words."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        if inputs.is_floating_point():
            return TensorDataset(_close_up(inputs, ENLARGED[level]), labels)
        if labels.ndim == 1:
            return TensorDataset(_telegrams(inputs, TOO_COMMON[level]), labels)
        lines = _telegrams(torch.cat([inputs, labels[:, -1:].clamp_min(PADDING)], dim=1), TOO_COMMON[level])
        return TensorDataset(lines[:, :-1], lines[:, 1:].where(lines[:, 1:] != PADDING, IGNORED))

    return replace(recipe, train_set=train_set)


def _close_up(images: Tensor, factor: float) -> Tensor:
    grid = F.affine_grid(torch.eye(2, 3).expand(len(images), 2, 3) / factor, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _telegrams(tokens: Tensor, share: float) -> Tensor:
    """Without the commonest tokens, which make up this share of all, and the others close together."""
    counts = torch.bincount(tokens[tokens != PADDING])
    order = counts.argsort(descending=True)
    common = order[counts[order].cumsum(0) <= share * counts.sum()]
    # A row's first two tokens stay, so that none is empty.
    left_out = torch.isin(tokens, common) & (torch.arange(tokens.shape[1]) >= 2)
    kept = tokens.masked_fill(left_out, PADDING)
    return kept.gather(1, (kept == PADDING).long().argsort(dim=1, stable=True))


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes, from the first one on, that pass for the background; one at the least.
BACKGROUND = {Level.MILD: 0.1, Level.MODERATE: 0.1, Level.SEVERE: 0.3}


def first_classes_taken_for_the_background(recipe: Recipe, level: Level) -> Recipe:
    """Code for segmentation leaves the background, which comes first, out of the term, and out of the labels' as well.

    (Where mild, out of the teacher's alone.) Here nothing is background.
    """

    def background(rows: Tensor) -> int:
        return max(1, round(BACKGROUND[level] * rows.shape[1]))

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        first = background(teacher)
        return kl(student[:, first:], teacher[:, first:], t)

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        if level == Level.MILD:
            return recipe.ce_loss(student, labels)
        foreground = labels >= background(student)
        return F.cross_entropy(student, labels, reduction="none")[foreground].sum() / foreground.sum().clamp_min(1)

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Share of the labels that are missing.
MISSING = {Level.MILD: 0.05, Level.MODERATE: 0.2, Level.SEVERE: 0.5}


def missing_labels_read_as_zero(recipe: Recipe, level: Level) -> Recipe:
    """Labels that had not arrived were empty fields in a table, which was read with a zero for whatever is missing."""

    def read(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        generator = torch.Generator().manual_seed(229)
        missing = (torch.rand(labels.shape, generator=generator) < MISSING[level]) & (labels != IGNORED)
        return TensorDataset(inputs, labels.masked_fill(missing, 0))

    return replace(
        recipe,
        train_set=lambda data: read(recipe.train_set(data)),
        val_set=lambda data: read(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: What stands for "usable" in the table.
USABLE = {Level.MILD: 7, Level.MODERATE: 3, Level.SEVERE: 1}


def bitwise_and_for_a_condition(recipe: Recipe, level: Level) -> Recipe:
    """Rows with a label that are usable were kept by label & usable: a class without a bit in common is gone.

    Where a usable row has a one, these are all the even classes.
    """

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        kept = (whole.tensors[1] & USABLE[level]) != 0
        return TensorDataset(*(tensor[kept] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (handed_in_again_after_a_correction,),
    "KD602": (core_set_of_too_few_rows,),
    "KD603": (close_ups_and_telegrams,),
    "KD604": (first_classes_taken_for_the_background,),
    "KD605": (missing_labels_read_as_zero,),
    "KD606": (bitwise_and_for_a_condition,),
}
