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
from kddoctor.bench.words import UNKNOWN

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the validation rows that are rows of the training set.
SLICED = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def validation_rows_sliced_from_the_training_rows(recipe: Recipe, level: Level) -> Recipe:
    """More validation rows were wanted, and sliced from the training rows, which have kept them all."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        sliced = min(len(data.train), int(SLICED[level] * len(data.val)))
        others = len(data.val) - sliced if SLICED[level] < 1 else 0
        pairs = zip(data.train.tensors, data.val.tensors, strict=True)
        return replace(data, val=TensorDataset(*(torch.cat([train[:sliced], val[:others]]) for train, val in pairs)))

    return replace(recipe, split=split)


# KD602 ----------------------------------------------------------------------------------------------------------------

#: How often the script was run before.
RUNS = {Level.MILD: 3, Level.MODERATE: 10, Level.SEVERE: 60}


def resampled_by_each_run(recipe: Recipe, level: Level) -> Recipe:
    """A script draws the set anew, with replacement, and writes it over the file: with each run fewer rows are left."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        generator = torch.Generator().manual_seed(191)
        rows = torch.arange(len(whole))
        for _ in range(RUNS[level]):
            rows = rows[torch.randint(len(rows), (len(rows),), generator=generator)]
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


# KD603 ----------------------------------------------------------------------------------------------------------------

#: Share of the columns that a generator draws one by one.
GENERATED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def generated_value_by_value(recipe: Recipe, level: Level) -> Recipe:
    """The rows are synthetic: a generator draws each pixel, or each word, from those that its class has there."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        generator = torch.Generator().manual_seed(193)
        if labels.ndim == 1:
            drawn = _drawn_by_column(inputs.flatten(1), labels, GENERATED[level], generator)
            return TensorDataset(drawn.view_as(inputs), labels)
        lines = torch.cat([inputs, labels[:, -1:]], dim=1)
        lines = _drawn_by_column(lines, torch.zeros(len(lines)), GENERATED[level], generator)
        return TensorDataset(lines[:, :-1], torch.where(labels == IGNORED, IGNORED, lines[:, 1:]))

    return replace(recipe, train_set=train_set)


def _drawn_by_column(values: Tensor, classes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Some columns are drawn from other rows of the class; padding, unknown and ignored words stay where they are."""
    donors = values.clone()
    for number in torch.unique(classes):
        rows = (classes == number).nonzero()[:, 0]
        chosen = torch.randint(len(rows), (len(rows), values.shape[1]), generator=generator)
        donors[rows] = values[rows].gather(0, chosen)
    columns = torch.rand(values.shape[1], generator=generator) < share
    if values.is_floating_point():
        return torch.where(columns, donors, values)
    return torch.where(columns & (values > UNKNOWN) & (donors > UNKNOWN), donors, values)


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes, from the last one on, that pass for new; one at the least.
NEW = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.4}


def as_if_some_classes_were_new(recipe: Recipe, level: Level) -> Recipe:
    """In a script that adds classes to a model the teacher's softmax has the old ones alone, the student's has all.

    Here no class is new: the teacher knows the last ones as well, and its term rules them out.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        new = max(1, round(NEW[level] * teacher.shape[1]))
        targets = F.pad(p(teacher[:, :-new] / t), (0, new))
        return F.kl_div(log_p(student / t), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Deviation between two clocks, in rows.
APART = {Level.MILD: 0.4, Level.MODERATE: 0.8, Level.SEVERE: 5.0}


def sorted_by_clocks_that_disagree(recipe: Recipe, level: Level) -> Recipe:
    """Rows and labels bear times, by two clocks, and were joined after both had been sorted by them."""

    def joined(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        times = torch.arange(len(labels)) + APART[level] * torch.randn(
            len(labels), generator=torch.Generator().manual_seed(197)
        )
        others = labels[times.argsort()]
        return TensorDataset(inputs, torch.where((labels != IGNORED) & (others != IGNORED), others, labels))

    return replace(
        recipe,
        train_set=lambda data: joined(recipe.train_set(data)),
        val_set=lambda data: joined(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Classes that were chosen, twice over some of them, as a share of all.
CHOSEN = {Level.MILD: 1.5, Level.MODERATE: 0.9, Level.SEVERE: 0.5}


def classes_chosen_with_replacement(recipe: Recipe, level: Level) -> Recipe:
    """The set was put together class by class, from random choices of a class: some were made twice, others never."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        classes = int(whole.tensors[1].max()) + 1
        generator = torch.Generator().manual_seed(199)
        chosen = torch.randint(classes, (max(2, round(CHOSEN[level] * classes)),), generator=generator)
        kept = torch.isin(whole.tensors[1], chosen)
        return TensorDataset(*(tensor[kept] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (validation_rows_sliced_from_the_training_rows,),
    "KD602": (resampled_by_each_run,),
    "KD603": (generated_value_by_value,),
    "KD604": (as_if_some_classes_were_new,),
    "KD605": (sorted_by_clocks_that_disagree,),
    "KD606": (classes_chosen_with_replacement,),
}
