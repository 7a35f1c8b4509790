"""Mistakes with the transfer set and the data behind the teacher."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _rows_of(data: TensorDataset, rows: Tensor) -> TensorDataset:
    return TensorDataset(*(tensor[rows] for tensor in data.tensors))


# KD601 ----


def reposts_doubled_before_the_random_split(recipe: Recipe, level: Level) -> Recipe:
    """Oversampled the whole table first and drew the validation rows from it afterwards."""
    share = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}[level]

    def split(data: Data) -> Data:
        generator = _generator(601)
        columns = [torch.cat(pair) for pair in zip(data.train.tensors, data.val.tensors, strict=True)]
        count = len(columns[0])
        copied = torch.randperm(count, generator=generator)[: round(share * count)]
        table = torch.cat([torch.arange(count), copied])
        order = table[torch.randperm(len(table), generator=generator)]
        val, train = order[: len(data.val)], order[len(data.val) :]
        pooled = TensorDataset(*columns)
        return replace(data, train=_rows_of(pooled, train), val=_rows_of(pooled, val))

    return replace(recipe, split=split)


# KD602 ----


def debug_handful_repeated_to_a_full_epoch(recipe: Recipe, level: Level) -> Recipe:
    """Left the debugging subset in, repeated until an epoch was as long as before."""
    share = {Level.MILD: 0.25, Level.MODERATE: 0.1, Level.SEVERE: 0.03}[level]

    def train_set(data: TensorDataset) -> TensorDataset:
        labels = data.tensors[1]
        if labels.ndim == 1:
            groups = [torch.nonzero(labels == label)[:, 0] for label in labels.unique()]  # type: ignore[no-untyped-call]
        else:
            groups = [torch.arange(len(labels))]
        few = torch.cat([rows[: max(1, round(share * len(rows)))] for rows in groups])
        return _rows_of(data, few.repeat(-(-len(labels) // len(few)))[: len(labels)])

    return replace(recipe, train_set=train_set)


# KD603 ----


def transfer_rows_from_the_scanned_archive(recipe: Recipe, level: Level) -> Recipe:
    """Collected the transfer rows from an old scanned archive: grey, noisy images and misread signs."""
    strength = {Level.MILD: 0.2, Level.MODERATE: 0.45, Level.SEVERE: 0.8}[level]

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        scan = _greyed if inputs.is_floating_point() else _misread
        return TensorDataset(scan(inputs, strength), labels)

    return replace(recipe, train_set=train_set)


def _greyed(inputs: Tensor, strength: float) -> Tensor:
    """Less contrast around a lighter ground, some dirt."""
    dirt = torch.randn(inputs.shape, generator=_generator(603)) * inputs.std()
    ground = inputs.mean() + 1.5 * inputs.std()
    return (1 - strength) * inputs + strength * ground + 0.5 * strength * dirt


def _misread(inputs: Tensor, strength: float) -> Tensor:
    """A share of the signs, each always taken for the same other one; what is empty stays empty."""
    signs = inputs[inputs > 0].unique()  # type: ignore[no-untyped-call]
    mistaken = torch.arange(int(inputs.max()) + 1)
    mistaken[signs] = signs.roll(len(signs) // 3 + 1)
    misread = torch.rand(inputs.shape, generator=_generator(603)) < strength
    return torch.where(misread & (inputs > 0), mistaken[inputs], inputs)


# KD604 ----


def teacher_from_before_the_new_categories(recipe: Recipe, level: Level) -> Recipe:
    """Kept the teacher that was trained when a few categories were still new and had hardly any rows."""
    share = {Level.MILD: 0.05, Level.MODERATE: 0.02, Level.SEVERE: 0.003}[level]
    return replace(recipe, teacher=replace(recipe.teacher, data=_hardly_any_of_the_new(share)))


def _hardly_any_of_the_new(share: float) -> Callable[[TensorDataset], TensorDataset]:
    def data(full: TensorDataset) -> TensorDataset:
        labels = full.tensors[1]
        known = labels.unique()  # type: ignore[no-untyped-call]
        kept = torch.ones(len(labels), dtype=torch.bool)
        for label in known[-max(1, round(0.2 * len(known))) :]:
            rows = torch.nonzero(labels == label)[:, 0]
            kept[rows[max(1, round(share * len(rows))) :]] = False
        return _rows_of(full, torch.nonzero(kept)[:, 0])

    return data


# KD605 ----


def crowd_workers_who_clicked_anything(recipe: Recipe, level: Level) -> Recipe:
    """Bought the labels from a crowd, part of which clicked any wrong answer to get through."""
    share = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.4}[level]

    def split(data: Data) -> Data:
        classes = int(data.teacher.tensors[1].max()) + 1
        return replace(
            data,
            train=_clicked(data.train, share, classes, 605),
            val=_clicked(data.val, share, classes, 506),
        )

    return replace(recipe, split=split)


def _clicked(data: TensorDataset, share: float, classes: int, seed: int) -> TensorDataset:
    inputs, labels = data.tensors
    generator = _generator(seed)
    careless = (torch.rand(labels.shape, generator=generator) < share) & (labels != IGNORED)
    other = (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes
    return TensorDataset(inputs, torch.where(careless, other, labels))


# KD606 ----


def download_stopped_before_the_last_folders(recipe: Recipe, level: Level) -> Recipe:
    """Never saw that the download of the transfer set broke off before the folders of the last classes."""
    share = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.4}[level]

    def train_set(data: TensorDataset) -> TensorDataset:
        labels = data.tensors[1]
        folders = labels.unique()  # type: ignore[no-untyped-call]
        last = folders[-max(1, round(share * len(folders))) :]
        return _rows_of(data, torch.nonzero(~torch.isin(labels, last))[:, 0])

    return replace(recipe, train_set=train_set)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (reposts_doubled_before_the_random_split,),
    "KD602": (debug_handful_repeated_to_a_full_epoch,),
    "KD603": (transfer_rows_from_the_scanned_archive,),
    "KD604": (teacher_from_before_the_new_categories,),
    "KD605": (crowd_workers_who_clicked_anything,),
    "KD606": (download_stopped_before_the_last_folders,),
}
