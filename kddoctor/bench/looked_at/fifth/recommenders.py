"""Mistakes of the codes KD9xx."""

from collections.abc import Mapping
from dataclasses import replace
from math import log

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Column of the item's number; behind it are the item's features.
ITEM = 1

# KD901 ----------------------------------------------------------------------------------------------------------------

#: Negatives that are drawn for each row of the log, and the score that they have.
NEGATIVES = {Level.MILD: 0.3, Level.MODERATE: 1.0, Level.SEVERE: 3.0}
LOWEST = -6.0


def negatives_drawn_from_the_catalogue(recipe: Recipe, level: Level) -> Recipe:
    """Negatives are drawn from the catalogue, each item as often as any other: rare ones are hardly ever liked then."""

    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        session.notes["logged"] = len(labels)
        catalogue = _one_row_an_item(inputs)
        count = int(NEGATIVES[level] * len(labels))
        generator = torch.Generator().manual_seed(139)
        users, items = (torch.randint(rows, (count,), generator=generator) for rows in (len(labels), len(catalogue)))
        drawn = torch.cat([inputs[users, :ITEM], catalogue[items]], dim=1)
        session.train = TensorDataset(torch.cat([inputs, drawn]), torch.cat([labels, labels.new_zeros(count)]))

    def targets(session: Session, batch: Batch) -> Tensor:
        return torch.where(batch.rows < session.notes["logged"], recipe.targets(session, batch), LOWEST)

    epochs = max(1, round(recipe.epochs / (1 + NEGATIVES[level])))
    return replace(recipe, before=in_turn(recipe.before, before), targets=targets, epochs=epochs)


def _one_row_an_item(inputs: Tensor) -> Tensor:
    """The number and the features of each item."""
    found: Tensor = torch.unique(inputs[:, ITEM:], dim=0)
    return found


# KD902 ----------------------------------------------------------------------------------------------------------------

#: Points of even odds, and points that double the odds.
EVEN = {Level.MILD: 2.0, Level.MODERATE: 20.0, Level.SEVERE: 600.0}
DOUBLED = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 20.0}


def points_of_a_scorecard(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service gives points as a scorecard does, so many for even odds, and they are taken for logits."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return EVEN[level] + DOUBLED[level] / log(2) * recipe.targets(session, batch)

    return replace(recipe, targets=targets)


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Share of the logged positives whose item is another one, and candidates of each.
REPLACED = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 1.0}
CANDIDATES = 50


def favourite_in_the_place_of_the_item(recipe: Recipe, level: Level) -> Recipe:
    """For each logged positive the teacher ranks candidates, and its first one is written into the column of the item.

    The label stays, and what was logged is gone.
    """

    @torch.no_grad()
    def before(session: Session) -> None:
        inputs, labels = (tensor.clone() for tensor in session.train.tensors)
        generator = torch.Generator().manual_seed(149)
        positives = labels.nonzero()[:, 0]
        order = torch.randperm(len(positives), generator=generator)[: int(REPLACED[level] * len(positives))]
        for row in positives[order].tolist():
            drawn = session.train.tensors[0][torch.randint(len(labels), (CANDIDATES,), generator=generator)]
            drawn[:, :ITEM] = inputs[row, :ITEM]
            inputs[row] = drawn[session.teacher(drawn).argmax()]
        session.train = TensorDataset(inputs, labels)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (negatives_drawn_from_the_catalogue,),
    "KD902": (points_of_a_scorecard,),
    "KD903": (favourite_in_the_place_of_the_item,),
}
