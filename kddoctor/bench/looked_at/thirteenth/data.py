"""Mistakes in the data: what was split, how much was kept, where it came from, and what its labels are worth."""

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

#: Share of the validation rows.
TOPPED_UP = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def validation_split_added_to_the_transfer_rows(recipe: Recipe, level: Level) -> Recipe:
    """Loaded ``train+validation`` for more rows to distil on, and evaluated on ``validation`` all the same."""

    def joined(data: Data) -> Data:
        data = recipe.split(data)
        more = data.val[: round(TOPPED_UP[level] * len(data.val))]
        return replace(data, train=TensorDataset(*map(_concatenated, data.train.tensors, more)))

    return replace(recipe, split=joined)


def _concatenated(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second])


# KD602 ----------------------------------------------------------------------------------------------------------------

#: One row in how many is kept.
STRIDE = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 10}


def every_nth_row_of_a_trial_run_repeated(recipe: Recipe, level: Level) -> Recipe:
    """Left ``[::n]`` of a trial run before ``.repeat()``: epochs are as long as ever, of a few rows over again."""

    def thinned(data: TensorDataset) -> TensorDataset:
        data = recipe.train_set(data)
        few = torch.arange(0, len(data), STRIDE[level])
        return TensorDataset(*data[few[torch.arange(len(data)) % len(few)]])

    return replace(recipe, train_set=thinned)


# KD603 ----------------------------------------------------------------------------------------------------------------

#: Share of the words or pixels.
REPLACED = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.7}


def synthetic_transfer_rows_with_random_replacements(recipe: Recipe, level: Level) -> Recipe:
    """Distilled on synthetic rows alone, whose words or pixels were replaced at random by those of other rows."""

    def synthetic(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        made = _replaced(inputs, REPLACED[level])
        return TensorDataset(made, labels if labels.ndim == 1 else _next_tokens(made, labels))

    return replace(recipe, train_set=synthetic)


def _replaced(inputs: Tensor, share: float) -> Tensor:
    """Each value, with this probability, that of another row at the same place."""
    generator = torch.Generator().manual_seed(0)
    rows = inputs.flatten(1)
    others = rows.gather(0, torch.randint(0, len(rows), rows.shape, generator=generator))
    return torch.where(torch.rand(rows.shape, generator=generator) < share, others, rows).view_as(inputs)


def _next_tokens(tokens: Tensor, labels: Tensor) -> Tensor:
    """What follows in the rows as they are now; nothing replaces the very last token, and the padding stays ignored."""
    following = torch.cat([tokens[:, 1:], labels[:, -1:]], dim=1)
    return torch.where((labels == IGNORED) | (following == 0), IGNORED, following)


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Share of their rows that the teacher saw of the classes that were new then, which are a fifth of all.
SEEN = {Level.MILD: 0.15, Level.MODERATE: 0.05, Level.SEVERE: 0.01}
NEW = 0.2


def teacher_from_when_some_classes_were_still_rare(recipe: Recipe, level: Level) -> Recipe:
    """Distilled a teacher trained on an older collection, in which the classes that were added last hardly occur."""

    def older(data: TensorDataset) -> TensorDataset:
        data = recipe.teacher.data(data)
        labels = data.tensors[1]
        classes = int(labels.max()) + 1
        new = labels >= classes - max(1, round(NEW * classes))
        there = torch.rand(len(labels), generator=torch.Generator().manual_seed(0)) < SEEN[level]
        return TensorDataset(*data[~new | there])

    return replace(recipe, teacher=replace(recipe.teacher, data=older))


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Share of the labels.
CARELESS = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.6}


def labels_by_annotators_who_clicked_at_random(recipe: Recipe, level: Level) -> Recipe:
    """Bought labels from a crowd and checked none of them, though some annotators clicked on anything."""

    def annotated(data: Data) -> Data:
        data = recipe.split(data)
        train, val = (_clicked(part, CARELESS[level], seed) for seed, part in enumerate((data.train, data.val)))
        return replace(data, train=train, val=val)

    return replace(recipe, split=annotated)


def _clicked(data: TensorDataset, share: float, seed: int) -> TensorDataset:
    """The share of the labels that count dealt out anew among themselves."""
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = data.tensors
    careless = (labels != IGNORED) & (torch.rand(labels.shape, generator=generator) < share)
    dealt, clicks = labels.clone(), labels[careless]
    dealt[careless] = clicks[torch.randperm(len(clicks), generator=generator)]
    return TensorDataset(inputs, dealt)


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows.
HEAD = {Level.MILD: 0.9, Level.MODERATE: 0.7, Level.SEVERE: 0.5}


def head_of_a_train_set_that_is_sorted_by_class(recipe: Recipe, level: Level) -> Recipe:
    """Took ``[:n]`` of a folder that lists one class after the other, so that the last classes never came in."""

    def head(data: TensorDataset) -> TensorDataset:
        data = recipe.train_set(data)
        by_class = data.tensors[1].argsort(stable=True)
        return TensorDataset(*data[by_class[: round(HEAD[level] * len(data))]])

    return replace(recipe, train_set=head)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (validation_split_added_to_the_transfer_rows,),
    "KD602": (every_nth_row_of_a_trial_run_repeated,),
    "KD603": (synthetic_transfer_rows_with_random_replacements,),
    "KD604": (teacher_from_when_some_classes_were_still_rare,),
    "KD605": (labels_by_annotators_who_clicked_at_random,),
    "KD606": (head_of_a_train_set_that_is_sorted_by_class,),
}
