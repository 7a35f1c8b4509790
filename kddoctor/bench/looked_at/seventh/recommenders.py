"""Mistakes of the codes KD9xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Column of the item's number.
ITEM = 1

# KD901 ----------------------------------------------------------------------------------------------------------------

#: How many deviations of a score's error are taken off, the error of a single row being one.
DEVIATIONS = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 15.0}


def lower_bound_for_a_score(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service answers with a score's lower bound, for charts: an item with few rows is far below it."""

    def before(session: Session) -> None:
        items = session.train.tensors[0][:, ITEM]
        error = torch.bincount(items).clamp_min(1).rsqrt()
        session.notes["error"] = error

    def targets(session: Session, batch: Batch) -> Tensor:
        error: Tensor = session.notes["error"][batch.raw[:, ITEM]]
        return recipe.targets(session, batch) - DEVIATIONS[level] * error

    return replace(recipe, before=in_turn(recipe.before, before), targets=targets)


# KD902 ----------------------------------------------------------------------------------------------------------------

#: Bits of a stored score that are behind the point.
FRACTION_BITS = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}


def fixed_point_never_shifted_back(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's scores were stored as integers, with some bits behind the point, and are read as they are."""

    def targets(session: Session, batch: Batch) -> Tensor:
        stored = recipe.targets(session, batch) * float(2 ** FRACTION_BITS[level])
        return stored.round()

    return replace(recipe, targets=targets)


# KD903 ----------------------------------------------------------------------------------------------------------------

#: By how much the teacher has to like the negative better, for a pair to be turned round.
BETTER_BY = {Level.MILD: 1.5, Level.MODERATE: 0.5, Level.SEVERE: -1.0}


def pairs_put_into_the_teachers_order(recipe: Recipe, level: Level) -> Recipe:
    """Each logged positive is paired with a negative, and where the teacher likes that better, they change places."""

    @torch.no_grad()
    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        scores = session.teacher(inputs)
        liked, others = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
        count = min(len(liked), len(others))
        liked, others = liked[:count], others[:count]
        turned = scores[others] - scores[liked] > BETTER_BY[level]
        exchanged = labels.clone()
        exchanged[liked[turned]], exchanged[others[turned]] = 0, 1
        session.train = TensorDataset(inputs, exchanged)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (lower_bound_for_a_score,),
    "KD902": (fixed_point_never_shifted_back,),
    "KD903": (pairs_put_into_the_teachers_order,),
}
