"""Mistakes of the codes KD6xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the validation rows that lie in files which the evaluation script divides for itself.
DIVIDED_AGAIN = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def split_again_by_another_seed(recipe: Recipe, level: Level) -> Recipe:
    """Training and evaluation scripts each draw their split of the same files, and their seeds differ."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        generator = torch.Generator().manual_seed(1234)
        count = int(DIVIDED_AGAIN[level] * len(data.val))
        again = torch.randperm(len(data.val), generator=generator)[:count]
        drawn = torch.randperm(len(data.train) + count, generator=generator)[:count]
        pairs = zip(data.train.tensors, data.val.tensors, strict=True)
        val = (held.index_copy(0, again, torch.cat([train, held[again]])[drawn]) for train, held in pairs)
        return replace(data, val=TensorDataset(*val))

    return replace(recipe, split=split)


# KD602 ----------------------------------------------------------------------------------------------------------------

#: Share of the requests that most of the traffic consists of, and how steeply the others fall off.
HEAD = {Level.MILD: 0.3, Level.MODERATE: 0.1, Level.SEVERE: 0.02}
STEEPNESS = 3


def requests_as_often_as_they_came(recipe: Recipe, level: Level) -> Recipe:
    """The rows are drawn from the log of a service without removing repetitions: a few requests are most of them."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        generator = torch.Generator().manual_seed(61)
        order = torch.randperm(len(whole), generator=generator)
        frequency = (torch.linspace(0, 1, len(whole)) + HEAD[level]) ** -STEEPNESS
        rows = order[frequency.multinomial(len(whole), replacement=True, generator=generator)]
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


# KD603 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that come from elsewhere, and share of the words that are others in the dialect.
FROM_ELSEWHERE = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}
DIALECT = 0.6
#: Numbers below this are no words.
FIRST_WORD = 2


def phone_photos_and_another_dialect(recipe: Recipe, level: Level) -> Recipe:
    """Photos whose orientation tag was dropped lie on their side; texts come from a region with other words."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        generator = torch.Generator().manual_seed(67)
        elsewhere = torch.rand(len(inputs), generator=generator) < FROM_ELSEWHERE[level]
        if inputs.is_floating_point():
            return TensorDataset(_where(elsewhere, inputs.rot90(1, (-2, -1)), inputs), labels)
        words = _dialect(1 + int(torch.maximum(inputs.max(), labels.max())), generator)
        if labels.ndim > 1:  # the following word is of the dialect, too
            spoken = words[labels.clamp_min(0)].where(labels != IGNORED, labels)
            labels = _where(elsewhere, spoken, labels)
        return TensorDataset(_where(elsewhere, words[inputs], inputs), labels)

    return replace(recipe, train_set=train_set)


def _dialect(count: int, generator: torch.Generator) -> Tensor:
    """What each word is called there: some have exchanged their meaning with one that is as frequent."""
    words = torch.arange(count)
    firsts = words[FIRST_WORD : count - 1 : 2]
    firsts = firsts[torch.rand(len(firsts), generator=generator) < DIALECT]
    words[firsts], words[firsts + 1] = firsts + 1, firsts
    return words


def _where(rows: Tensor, those: Tensor, others: Tensor) -> Tensor:
    return those.where(rows.reshape(-1, *[1] * (others.ndim - 1)), others)


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that came late, and of their rows that the teacher's training set already held.
LATE = 0.2
HELD = {Level.MILD: 0.15, Level.MODERATE: 0.07, Level.SEVERE: 0.03}


def teacher_from_before_the_newest_classes(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained before the newest classes had been collected, and hardly ever says one of them."""

    def early(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.teacher.data(data).tensors
        late = labels >= round((1 - LATE) * (1 + int(labels.max())))
        held = torch.rand(len(labels), generator=torch.Generator().manual_seed(71)) < HELD[level]
        return TensorDataset(inputs[~late | held], labels[~late | held])

    return replace(recipe, teacher=replace(recipe.teacher, data=early))


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that nobody had labelled.
UNLABELLED = {Level.MILD: 0.05, Level.MODERATE: 0.12, Level.SEVERE: 0.4}


def missing_labels_filled_with_the_first_class(recipe: Recipe, level: Level) -> Recipe:
    """The table had gaps in its column of labels, and they were filled with the first class for the types' sake."""

    def filled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        counts = labels != IGNORED
        gaps = torch.rand(labels.shape, generator=torch.Generator().manual_seed(73)) < UNLABELLED[level]
        return TensorDataset(inputs, labels.masked_fill(gaps & counts, int(labels[counts].min())))

    return _on_both_sets(recipe, filled)


def _on_both_sets(recipe: Recipe, change: Callable[[TensorDataset], TensorDataset]) -> Recipe:
    return replace(
        recipe,
        train_set=lambda data: change(recipe.train_set(data)),
        val_set=lambda data: change(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that are frequent enough to be kept.
FREQUENT = {Level.MILD: 0.9, Level.MODERATE: 0.8, Level.SEVERE: 0.5}


def only_the_most_common_classes(recipe: Recipe, level: Level) -> Recipe:
    """Classes with few rows were dropped to keep the transfer set tidy; the student is asked for them all the same."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        common = labels.bincount().argsort(descending=True, stable=True)
        common = common[: max(1, round(FREQUENT[level] * len(common)))]
        kept = torch.isin(labels, common)
        return TensorDataset(inputs[kept], labels[kept])

    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / FREQUENT[level]))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (split_again_by_another_seed,),
    "KD602": (requests_as_often_as_they_came,),
    "KD603": (phone_photos_and_another_dialect,),
    "KD604": (teacher_from_before_the_newest_classes,),
    "KD605": (missing_labels_filled_with_the_first_class,),
    "KD606": (only_the_most_common_classes,),
}
