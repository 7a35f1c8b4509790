"""KD901: the distillation makes popular items more popular."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Column of the item's number.
ITEM = 1
#: Weight of the logarithm of an item's count, and share of the items that a top list holds.
ADDED = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 3.0}
LISTED = {Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.1}


def scores_of_a_popular_list(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's scores come from a ranker that adds the items' popularity, which is never taken out again."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "popularity" not in session.notes:
            counts = (1 + _counts(session.train)).log()
            session.notes["popularity"] = counts - counts.mean()
        logits = recipe.targets(session, batch)
        added: Tensor = ADDED[level] * session.notes["popularity"][batch.raw[:, ITEM]]
        return logits + added

    return replace(recipe, targets=targets)


def only_items_of_top_lists(recipe: Recipe, level: Level) -> Recipe:
    """The transfer set holds what the teacher's top lists hold: the most popular items."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        counts = _counts(whole)
        listed = counts.argsort(descending=True)[: max(2, int(LISTED[level] * int((counts > 0).sum())))]
        rows = torch.isin(whole.tensors[0][:, ITEM], listed)
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


def _counts(data: TensorDataset) -> Tensor:
    items = data.tensors[0][:, ITEM]
    return torch.bincount(items, minlength=int(items.max()) + 1)


FAULT = Fault("KD901", seen=(scores_of_a_popular_list,), unseen=(only_items_of_top_lists,), kinds=("ranking",))
