"""Mistakes in what the student learns from: rows that leak, are few, odd or mislabelled, and classes that suffer."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data


def _rows(data: TensorDataset, rows: Tensor) -> TensorDataset:
    return TensorDataset(*(tensor[rows] for tensor in data.tensors))


def _groups(labels: Tensor) -> list[Tensor]:
    """Row numbers class by class; one group of all rows where a row has many labels."""
    if labels.ndim > 1:
        return [torch.arange(len(labels))]
    return [(labels == label).nonzero().flatten() for label in sorted(set(labels.tolist()))]


# KD601 ---------------------------------------------------------------------------------------------------------------

#: Shards of the validation set, of eight, whose names the pattern matches.
_SHARDS = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 8}


def training_glob_matches_validation_shards(recipe: Recipe, level: Level) -> Recipe:
    """Collected the training files with a pattern that is too wide, so that validation files came along."""

    def split(data: Data) -> Data:
        found = recipe.split(data)
        matched = torch.arange(len(found.val)) % 8 < _SHARDS[level]
        leaked = _rows(found.val, matched.nonzero().flatten())
        both = zip(found.train.tensors, leaked.tensors, strict=True)
        return replace(found, train=TensorDataset(*(torch.cat(pair) for pair in both)))

    return replace(recipe, split=split)


# KD602 ---------------------------------------------------------------------------------------------------------------

_SHARE_OF_ROWS = {Level.MILD: 0.5, Level.MODERATE: 0.2, Level.SEVERE: 0.06}


def trial_subset_kept_for_the_real_run(recipe: Recipe, level: Level) -> Recipe:
    """Left in the small stratified subset that the script was tried out with; the run has as many steps as ever."""
    share = _SHARE_OF_ROWS[level]

    def few(data: TensorDataset) -> TensorDataset:
        found = recipe.train_set(data)
        groups = _groups(found.tensors[1])
        return _rows(found, torch.cat([rows[: max(1, round(share * len(rows)))] for rows in groups]))

    return replace(recipe, train_set=few, epochs=round(recipe.epochs / share))


# KD603 ---------------------------------------------------------------------------------------------------------------

#: How far down the sorted list the rows are taken from; the last: no further than needed.
_REACH = {Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.0}


def head_of_a_list_sorted_by_size(recipe: Recipe, level: Level) -> Recipe:
    """Took the transfer set from the top of each class's list, which was sorted by size, the smallest first."""

    def split(data: Data) -> Data:
        found = recipe.split(data)
        pool = _groups(found.teacher.tensors[1])
        wanted = [len(rows) for rows in _groups(found.train.tensors[1])]
        taken = [
            _from_the_top(found.teacher, rows, count, _REACH[level]) for rows, count in zip(pool, wanted, strict=True)
        ]
        return replace(found, train=_rows(found.teacher, torch.cat(taken)))

    return replace(recipe, split=split)


def _from_the_top(data: TensorDataset, rows: Tensor, count: int, reach: float) -> Tensor:
    # Ink of an image; of a text, how long it is and how rare its words are, which is what compressed files grow with.
    size = data.tensors[0][rows].flatten(1).double().sum(1)
    top = rows[size.argsort(stable=True)][: max(count, round(reach * len(rows)))]
    return top[torch.linspace(0, len(top) - 1, min(count, len(top))).long()]


# KD604 ---------------------------------------------------------------------------------------------------------------

_SHARE_OF_RARE = {Level.MILD: 0.1, Level.MODERATE: 0.05, Level.SEVERE: 0.02}
#: One class in this many is rare where the teacher's data came from.
_ONE_IN = 10


def teacher_that_hardly_saw_some_classes(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher that was trained on data as it comes in, where some classes are rare, for a balanced task."""

    def as_it_comes_in(data: TensorDataset) -> TensorDataset:
        found = recipe.teacher.data(data)
        kept = [
            rows[: max(1, round(_SHARE_OF_RARE[level] * len(rows)))] if number % _ONE_IN == 2 else rows
            for number, rows in enumerate(_groups(found.tensors[1]))
        ]
        return _rows(found, torch.cat(kept).sort().values)

    return replace(recipe, teacher=replace(recipe.teacher, data=as_it_comes_in))


# KD605 ---------------------------------------------------------------------------------------------------------------

_SHARE_OF_WRONG_JOINS = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.6}


def labels_joined_on_a_key_that_repeats(recipe: Recipe, level: Level) -> Recipe:
    """Joined rows and labels on a key that is not unique, so that many rows got the label of another."""

    def split(data: Data) -> Data:
        found = recipe.split(data)
        draws = torch.Generator().manual_seed(0)
        share = _SHARE_OF_WRONG_JOINS[level]
        return replace(found, train=_joined(found.train, share, draws), val=_joined(found.val, share, draws))

    return replace(recipe, split=split)


def _joined(data: TensorDataset, share: float, draws: torch.Generator) -> TensorDataset:
    inputs, labels = data.tensors
    counts = labels != IGNORED
    known = labels[counts]
    others = known[torch.randint(len(known), (len(known),), generator=draws)]
    wrong = torch.rand(len(known), generator=draws) < share
    joined = labels.clone()
    joined[counts] = torch.where(wrong, others, known)
    return TensorDataset(inputs, joined)


# KD606 ---------------------------------------------------------------------------------------------------------------

_SHARE_OF_FOLDERS = {Level.MILD: 0.9, Level.MODERATE: 0.75, Level.SEVERE: 0.5}


def first_rows_of_class_folders(recipe: Recipe, level: Level) -> Recipe:
    """Capped the transfer set at its first rows, although the files lie class by class and shuffling comes later."""

    def capped(data: TensorDataset) -> TensorDataset:
        found = recipe.train_set(data)
        by_folder = found.tensors[1].argsort(stable=True)
        return _rows(found, by_folder[: round(_SHARE_OF_FOLDERS[level] * len(by_folder))])

    return replace(recipe, train_set=capped)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (training_glob_matches_validation_shards,),
    "KD602": (trial_subset_kept_for_the_real_run,),
    "KD603": (head_of_a_list_sorted_by_size,),
    "KD604": (teacher_that_hardly_saw_some_classes,),
    "KD605": (labels_joined_on_a_key_that_repeats,),
    "KD606": (first_rows_of_class_folders,),
}
