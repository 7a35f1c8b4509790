"""Rows and labels that went wrong before the loop began."""

from collections.abc import Mapping
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


# KD601 ----

_TIMES = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 10}


def repeated_the_rows_before_the_random_split(recipe: Recipe, level: Level) -> Recipe:
    """Repeated the whole data set for longer epochs and only then split it at random."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        pool = [torch.cat(pair) for pair in zip(data.train.tensors, data.val.tensors, strict=True)]
        rows = len(pool[0])
        order = torch.randperm(rows * _TIMES[level], generator=_generator(11)) % rows
        train, val = order[: len(data.train)], order[len(data.train) : rows]
        return replace(data, train=_taken(pool, train), val=_taken(pool, val))

    return replace(recipe, split=split)


def _taken(tensors: list[Tensor] | tuple[Tensor, ...], rows: Tensor) -> TensorDataset:
    return TensorDataset(*(tensor[rows] for tensor in tensors))


# KD602 ----

_REPLICAS = {Level.MILD: 3, Level.MODERATE: 5, Level.SEVERE: 8}


def kept_the_distributed_sampler_on_one_machine(recipe: Recipe, level: Level) -> Recipe:
    """Left the sampler's share of one worker among several, with its fixed seed, where there was only one worker.

    The run is as many steps long as it was meant to be.
    """
    replicas = _REPLICAS[level]

    def share(data: TensorDataset) -> TensorDataset:
        data = recipe.train_set(data)
        return _taken(data.tensors, torch.randperm(len(data), generator=_generator(0))[::replicas])

    return replace(recipe, train_set=share, epochs=recipe.epochs * replicas)


# KD603 ----

#: Share of the rows that come from elsewhere, and of a text's tokens that are misread there.
_ELSEWHERE = {Level.MILD: (0.5, 0.4), Level.MODERATE: (0.8, 0.5), Level.SEVERE: (0.95, 0.7)}


def distilled_on_scans(recipe: Recipe, level: Level) -> Recipe:
    """Took scanned material as the transfer set: black on white for white on black, texts as an OCR misread them."""
    rows, misread = _ELSEWHERE[level]

    def scanned(data: TensorDataset) -> TensorDataset:
        inputs, *others = recipe.train_set(data).tensors
        generator = _generator(13)
        elsewhere = torch.rand(len(inputs), generator=generator) < rows
        changed = _negative(inputs) if inputs.is_floating_point() else _misread(inputs, misread, generator)
        shape = [-1] + [1] * (inputs.ndim - 1)
        return TensorDataset(torch.where(elsewhere.reshape(shape), changed, inputs), *others)

    return replace(recipe, train_set=scanned)


def _negative(inputs: Tensor) -> Tensor:
    return inputs.amax(0) + inputs.amin(0) - inputs if inputs.ndim == 2 else inputs.max() + inputs.min() - inputs


def _misread(tokens: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each token's look-alike in some of the places where it stands; padding stays."""
    known = torch.unique(tokens)
    known = known[known > 0]
    alike = torch.arange(int(tokens.max()) + 1)
    alike[known] = known[torch.randperm(len(known), generator=generator)]
    wrong = torch.rand(tokens.shape, generator=generator) < share
    return torch.where(wrong, alike[tokens], tokens)


# KD604 ----

#: Share of the classes that were once filed under another, and of their rows that still are.
_MERGED = {Level.MILD: (0.1, 0.5), Level.MODERATE: (0.2, 0.75), Level.SEVERE: (0.3, 0.9)}


def trained_the_teacher_on_the_older_ontology(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher from before some classes were set up, when most of their rows stood under a broader one."""
    classes, share = _MERGED[level]

    def filed_as_before(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.teacher.data(data).tensors
        generator = _generator(17)
        order = torch.unique(labels)[torch.randperm(len(torch.unique(labels)), generator=generator)]
        count = max(1, round(classes * len(order)))
        before = torch.arange(int(labels.max()) + 1)
        before[order[:count]] = order[-count:]
        old = torch.rand(len(labels), generator=generator) < share
        return TensorDataset(inputs, torch.where(old, before[labels], labels))

    return replace(recipe, teacher=replace(recipe.teacher, data=filed_as_before))


# KD605 ----

_UNTOUCHED = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.8}


def saved_the_preselected_answer(recipe: Recipe, level: Level) -> Recipe:
    """Used an annotation form whose first answer was preselected, and saved as it was where somebody hurried on."""

    def annotated(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        hurried = torch.rand(labels.shape, generator=_generator(19)) < _UNTOUCHED[level]
        counts = labels != IGNORED
        return TensorDataset(inputs, torch.where(hurried & counts, labels[counts].min(), labels))

    return replace(recipe, train_set=annotated)


# KD606 ----

#: Share of the classes below the support that was asked for.
_RARE = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.3}


def dropped_classes_below_a_minimum_support(recipe: Recipe, level: Level) -> Recipe:
    """Filtered out the classes with the fewest rows, so that a stratified cross-validation would run."""

    def supported(data: TensorDataset) -> TensorDataset:
        data = recipe.train_set(data)
        labels = data.tensors[1]
        classes, counts = torch.unique(labels, return_counts=True)
        dropped = classes[counts.argsort(stable=True)[: max(1, round(_RARE[level] * len(classes)))]]
        return _taken(data.tensors, torch.nonzero(~torch.isin(labels, dropped)).flatten())

    return replace(recipe, train_set=supported)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (repeated_the_rows_before_the_random_split,),
    "KD602": (kept_the_distributed_sampler_on_one_machine,),
    "KD603": (distilled_on_scans,),
    "KD604": (trained_the_teacher_on_the_older_ontology,),
    "KD605": (saved_the_preselected_answer,),
    "KD606": (dropped_classes_below_a_minimum_support,),
}
