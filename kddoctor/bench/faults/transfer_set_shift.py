"""KD603: the transfer set comes from elsewhere than the rows on which the student is used."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Blur, as the weight of the neighbourhood, and share of tokens that another source would have written otherwise.
BLURRED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}
REWRITTEN = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.7}
#: Share of the rows that a selection leaves.
SELECTED = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.12}


def another_source(recipe: Recipe, level: Level) -> Recipe:
    """Images from a worse camera, blurred and dim; texts from a source with other words."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        shifted = _photographed if inputs.is_floating_point() else _rewritten
        return TensorDataset(shifted(inputs, level), labels)

    return replace(recipe, train_set=train_set)


def only_what_is_easy_to_get(recipe: Recipe, level: Level) -> Recipe:
    """Rows were kept by their content: dark images, short or common texts, well-known items."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        amount = whole.tensors[0].flatten(1).double().mean(1)
        rows = amount.argsort(stable=True)[: max(2, int(SELECTED[level] * len(whole)))]
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / SELECTED[level]))


def _photographed(images: Tensor, level: Level) -> Tensor:
    weight = BLURRED[level]
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1)
    return (1 - 0.5 * weight) * (weight * blurred + (1 - weight) * images)


def _rewritten(tokens: Tensor, level: Level) -> Tensor:
    """Some tokens are those of another row at the same place."""
    generator = torch.Generator().manual_seed(29)
    others = tokens[torch.randperm(len(tokens), generator=generator)]
    return torch.where(torch.rand(tokens.shape, generator=generator) < REWRITTEN[level], others, tokens)


FAULT = Fault(
    "KD603",
    seen=(another_source,),
    unseen=(only_what_is_easy_to_get,),
    kinds=("multiclass", "tokens"),
)
