"""Data: splits, subsets, sources, labels and classes of the transfer set that a person got wrong."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data

# KD601 ----------------------------------------------------------------------------------------------------------------


def validation_drawn_anew_from_the_pooled_rows(recipe: Recipe, level: Level) -> Recipe:
    """Split at random in the evaluation script again, with another seed, from a file that holds training rows too."""
    share = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}[level]

    def split(data: Data) -> Data:
        found = recipe.split(data)
        pooled = _joined(found.val, _first(found.train, math.ceil(share * len(found.train))))
        order = torch.randperm(len(pooled), generator=torch.Generator().manual_seed(42))
        return replace(found, val=_chosen(pooled, order[: len(found.val)]))

    return replace(recipe, split=split)


def _joined(first: TensorDataset, second: TensorDataset) -> TensorDataset:
    return TensorDataset(*(torch.cat(pair) for pair in zip(first.tensors, second.tensors, strict=True)))


def _first(data: TensorDataset, count: int) -> TensorDataset:
    return TensorDataset(*(tensor[:count] for tensor in data.tensors))


def _chosen(data: TensorDataset, rows: Tensor) -> TensorDataset:
    return TensorDataset(*(tensor[rows] for tensor in data.tensors))


def _occurring(labels: Tensor) -> Tensor:
    return torch.tensor(sorted(set(labels.tolist())))


# KD602 ----------------------------------------------------------------------------------------------------------------


def pilot_subset_trained_for_the_full_number_of_steps(recipe: Recipe, level: Level) -> Recipe:
    """Left the stratified subset of the first tries in the script; ``max_steps`` is that of the whole set."""
    share = {Level.MILD: 0.5, Level.MODERATE: 0.2, Level.SEVERE: 0.08}[level]

    def train_set(data: TensorDataset) -> TensorDataset:
        found = recipe.train_set(data)
        return _chosen(found, _pilot_rows(found.tensors[1], share))

    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / share))


def _pilot_rows(labels: Tensor, share: float) -> Tensor:
    """The first rows of each class; of lines of tokens the first lines."""
    if labels.ndim > 1:
        return torch.arange(math.ceil(share * len(labels)))
    by_class = [torch.nonzero(labels == value).flatten() for value in _occurring(labels)]
    return torch.cat([rows[: math.ceil(share * len(rows))] for rows in by_class]).sort().values


# KD603 ----------------------------------------------------------------------------------------------------------------


def transfer_rows_scanned_where_deployment_has_originals(recipe: Recipe, level: Level) -> Recipe:
    """Took scans as the transfer set: images on grey paper, texts with misread tokens; it is used on originals."""
    grey = {Level.MILD: 0.2, Level.MODERATE: 0.45, Level.SEVERE: 0.7}[level]
    misread = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.6}[level]

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        if inputs.is_floating_point():
            return TensorDataset(grey + (1 - grey) * inputs, labels)
        read = _misread(inputs, misread)
        return TensorDataset(read, labels if labels.ndim == 1 else _following(read, labels))

    return replace(recipe, train_set=train_set)


def _misread(tokens: Tensor, share: float) -> Tensor:
    """A share of the tokens as others of the vocabulary; padding (0) stays."""
    generator = torch.Generator().manual_seed(11)
    others = torch.randint(1, int(tokens.max()) + 1, tokens.shape, generator=generator)
    wrong = (torch.rand(tokens.shape, generator=generator) < share) & (tokens != 0)
    return torch.where(wrong, others, tokens)


def _following(tokens: Tensor, labels: Tensor) -> Tensor:
    """The labels of lines as they were read: each token's label is the next one."""
    following = torch.cat([tokens[:, 1:], labels[:, -1:]], dim=1)
    return torch.where(labels == IGNORED, IGNORED, following)


# KD604 ----------------------------------------------------------------------------------------------------------------


def teacher_trained_before_the_newest_classes_had_rows(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher from when the last classes had just been added, with a handful of examples of each."""
    share = {Level.MILD: 0.15, Level.MODERATE: 0.05, Level.SEVERE: 0.01}[level]

    def data(rows: TensorDataset) -> TensorDataset:
        found = recipe.teacher.data(rows)
        return _chosen(found, _rows_with_few_of_the_last(found.tensors[1], share))

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


def _rows_with_few_of_the_last(labels: Tensor, share: float) -> Tensor:
    classes = _occurring(labels)
    kept = torch.ones(len(labels), dtype=torch.bool)
    for value in classes[-max(1, len(classes) // 10) :]:
        rows = torch.nonzero(labels == value).flatten()
        kept[rows[math.ceil(share * len(rows)) :]] = False
    return torch.nonzero(kept).flatten()


# KD605 ----------------------------------------------------------------------------------------------------------------


def labels_guessed_by_hurried_annotators(recipe: Recipe, level: Level) -> Recipe:
    """Had the rows labelled cheaply, training and validation alike, by people who guessed a share of them."""
    share = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.45}[level]

    def split(data: Data) -> Data:
        found = recipe.split(data)
        return replace(found, train=_guessed(found.train, share, seed=1), val=_guessed(found.val, share, seed=2))

    return replace(recipe, split=split)


def _guessed(data: TensorDataset, share: float, seed: int) -> TensorDataset:
    """A share of the labels that count as another one that occurs."""
    inputs, labels = data.tensors
    generator = torch.Generator().manual_seed(seed)
    meant = labels[labels != IGNORED]
    values = _occurring(meant)
    numbers = torch.searchsorted(values, meant)
    away = torch.randint(1, len(values), numbers.shape, generator=generator)
    wrong = torch.rand(numbers.shape, generator=generator) < share
    given = labels.clone()
    given[labels != IGNORED] = values[torch.where(wrong, (numbers + away) % len(values), numbers)]
    return TensorDataset(inputs, given)


# KD606 ----------------------------------------------------------------------------------------------------------------


def class_sorted_listing_cut_at_the_front(recipe: Recipe, level: Level) -> Recipe:
    """Took the first rows of a listing that goes class by class, as from folders, so the last classes are missing."""
    share = {Level.MILD: 0.9, Level.MODERATE: 0.7, Level.SEVERE: 0.5}[level]

    def train_set(data: TensorDataset) -> TensorDataset:
        found = recipe.train_set(data)
        listing = found.tensors[1].argsort(stable=True)
        return _chosen(found, listing[: round(share * len(listing))])

    return replace(recipe, train_set=train_set)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (validation_drawn_anew_from_the_pooled_rows,),
    "KD602": (pilot_subset_trained_for_the_full_number_of_steps,),
    "KD603": (transfer_rows_scanned_where_deployment_has_originals,),
    "KD604": (teacher_trained_before_the_newest_classes_had_rows,),
    "KD605": (labels_guessed_by_hurried_annotators,),
    "KD606": (class_sorted_listing_cut_at_the_front,),
}
