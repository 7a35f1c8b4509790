"""KD605: many of the labels are wrong."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED

#: Share of the labels that are wrong, by accident and by habit.
ACCIDENTS = {Level.MILD: 0.03, Level.MODERATE: 0.08, Level.SEVERE: 0.3}
HABITS = {Level.MILD: 0.06, Level.MODERATE: 0.15, Level.SEVERE: 0.5}


def careless_annotators(recipe: Recipe, level: Level) -> Recipe:
    """Labels by the lowest bidder: some are any other class, in training and validation alike."""

    def mislabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        generator = torch.Generator().manual_seed(41)
        classes = max(2, int(labels.max()) + 1)
        others = labels + torch.randint(1, classes, labels.shape, generator=generator)
        wrong = torch.rand(labels.shape, generator=generator) < ACCIDENTS[level]
        return TensorDataset(inputs, _relabelled(labels, others % classes, wrong))

    return _on_both_sets(recipe, mislabelled)


def one_class_taken_for_another(recipe: Recipe, level: Level) -> Recipe:
    """The guidelines were misread: many rows of each second class were given the number of its neighbour."""

    def mislabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        generator = torch.Generator().manual_seed(43)
        misread = (labels % 2 == 1) & (torch.rand(labels.shape, generator=generator) < HABITS[level])
        return TensorDataset(inputs, _relabelled(labels, labels - 1, misread))

    return _on_both_sets(recipe, mislabelled)


def _relabelled(labels: Tensor, others: Tensor, wrong: Tensor) -> Tensor:
    return torch.where(wrong & (labels != IGNORED), others, labels)


def _on_both_sets(recipe: Recipe, mislabelled: Callable[[TensorDataset], TensorDataset]) -> Recipe:
    return replace(
        recipe,
        train_set=lambda data: mislabelled(recipe.train_set(data)),
        val_set=lambda data: mislabelled(recipe.val_set(data)),
    )


FAULT = Fault("KD605", seen=(careless_annotators,), unseen=(one_class_taken_for_another,))
