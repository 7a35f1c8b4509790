"""Mistakes in which rows and labels the student is trained on, and in which it is judged on."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data

# KD601 ----

_COPIES = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 10}


def oversampled_before_the_split_too(recipe: Recipe, level: Level) -> Recipe:
    """Repeated every row some times over, and only then cut the table into training and validation rows."""

    def split(data: Data) -> Data:
        return _cut_anew(recipe.split(data), _COPIES[level])

    return replace(recipe, split=split)


def _cut_anew(data: Data, copies: int) -> Data:
    pool = [torch.cat(parts).repeat_interleave(copies, dim=0) for parts in zip(*_tensors(data), strict=True)]
    order = torch.randperm(len(pool[0]), generator=torch.Generator().manual_seed(733))
    train, val = order[: len(data.train)], order[len(data.train) :][: len(data.val)]
    return replace(data, train=_taken(pool, train), val=_taken(pool, val))


def _tensors(data: Data) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return data.train.tensors, data.val.tensors


def _taken(tensors: list[Tensor] | tuple[Tensor, ...], rows: Tensor) -> TensorDataset:
    return TensorDataset(*(tensor[rows] for tensor in tensors))


# KD602 ----

_SEEDS = {Level.MILD: 0.4, Level.MODERATE: 0.15, Level.SEVERE: 0.06}


def a_few_seed_rows_repeated_to_fill_the_epoch(recipe: Recipe, level: Level) -> Recipe:
    """Had only a handful of seed rows, and repeated them until the epoch was as long as planned."""
    return _on_train_set(recipe, lambda data: _repeated(data, _SEEDS[level]))


def _on_train_set(recipe: Recipe, change: Callable[[TensorDataset], TensorDataset]) -> Recipe:
    def changed(data: TensorDataset) -> TensorDataset:
        return change(recipe.train_set(data))

    return replace(recipe, train_set=changed)


def _repeated(data: TensorDataset, share: float) -> TensorDataset:
    seeds = _by_turns(data.tensors[1])[: max(2, round(share * len(data)))]
    return _taken(data.tensors, seeds[torch.arange(len(data)) % len(seeds)])


def _by_turns(labels: Tensor) -> Tensor:
    """Row numbers in an order that takes one row of each class in turn."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(59))
    if labels.ndim > 1:
        return order
    same = labels[order][:, None] == labels[order][None]
    return order[same.tril(-1).sum(1).argsort(stable=True)]


# KD603 ----

_BLOTS = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 0.75}


def scanned_copies_in_place_of_the_originals(recipe: Recipe, level: Level) -> Recipe:
    """Built the transfer set from poor scans, in which many places hold what belongs elsewhere."""
    return _on_train_set(recipe, lambda data: _scanned(data, _BLOTS[level]))


def _scanned(data: TensorDataset, share: float) -> TensorDataset:
    inputs, *others = data.tensors
    generator = torch.Generator().manual_seed(401)
    flat = inputs.reshape(-1)
    found = flat[torch.randint(len(flat), (len(flat),), generator=generator)]
    blotted = torch.rand(len(flat), generator=generator) < share
    return TensorDataset(torch.where(blotted, found, flat).reshape(inputs.shape), *others)


# KD604 ----

_TRAFFIC = {Level.MILD: 2.5, Level.MODERATE: 3.5, Level.SEVERE: 5.0}


def teacher_still_tuned_to_the_traffic(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher from production, where the frequencies of its traffic had been added to its last bias."""

    def load(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        recipe.load_teacher(teacher, state)
        _tune_to_traffic(teacher, _TRAFFIC[level])

    return replace(recipe, load_teacher=load)


@torch.no_grad()
def _tune_to_traffic(teacher: nn.Module, strength: float) -> None:
    head = [module for module in teacher.modules() if isinstance(module, nn.Linear)][-1]
    frequencies = 1 / torch.arange(1, head.out_features + 1)
    if head.bias is not None:
        head.bias += strength * (frequencies / frequencies.sum()).log()  # type: ignore[misc]


# KD605 ----

_FROM_ONE = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 0.8}


def some_annotators_counted_from_one(recipe: Recipe, level: Level) -> Recipe:
    """Merged the labels of annotators whose tool counts classes from one with those that count from zero."""
    return _on_train_set(recipe, lambda data: _merged(data, _FROM_ONE[level]))


def _merged(data: TensorDataset, share: float) -> TensorDataset:
    inputs, labels = data.tensors
    counts = labels != IGNORED
    classes = int(labels.max()) + 1
    theirs = torch.rand(labels.shape, generator=torch.Generator().manual_seed(89)) < share
    return TensorDataset(inputs, torch.where(counts & theirs, (labels + 1) % classes, labels))


# KD606 ----

_DOWNLOADED = {Level.MILD: 0.85, Level.MODERATE: 0.75, Level.SEVERE: 0.55}


def first_shards_of_an_archive_sorted_by_class(recipe: Recipe, level: Level) -> Recipe:
    """Used the shards that had come down so far, of an archive that is written class by class."""
    return _on_train_set(recipe, lambda data: _first_shards(data, _DOWNLOADED[level]))


def _first_shards(data: TensorDataset, share: float) -> TensorDataset:
    labels = data.tensors[1]
    order = labels.argsort(stable=True)
    return _taken(data.tensors, order[: round(share * len(order))].sort().values)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (oversampled_before_the_split_too,),
    "KD602": (a_few_seed_rows_repeated_to_fill_the_epoch,),
    "KD603": (scanned_copies_in_place_of_the_originals,),
    "KD604": (teacher_still_tuned_to_the_traffic,),
    "KD605": (some_annotators_counted_from_one,),
    "KD606": (first_shards_of_an_archive_sorted_by_class,),
}
