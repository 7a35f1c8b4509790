"""KD602: too few examples to tell what function the teacher is."""

from dataclasses import replace

import torch
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Share of the rows that are left. Epochs are added, so that as many steps are taken.
SHARE = {Level.MILD: 0.45, Level.MODERATE: 0.25, Level.SEVERE: 0.1}


def few_rows(recipe: Recipe, level: Level) -> Recipe:
    """A sample for a trial run was never replaced by the whole set."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        return TensorDataset(*(tensor[: _count(whole, level)] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / SHARE[level]))


def few_rows_again_and_again(recipe: Recipe, level: Level) -> Recipe:
    """The set has its full length, and consists of a few rows that were repeated to fill it."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        rows = torch.arange(len(whole)) % _count(whole, level)
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


def _count(data: TensorDataset, level: Level) -> int:
    return max(2, int(SHARE[level] * len(data)))


FAULT = Fault("KD602", seen=(few_rows,), unseen=(few_rows_again_and_again,))
