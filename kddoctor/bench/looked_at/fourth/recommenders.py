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

#: Rows that a prior stands for, and the score that it has.
PRIOR_ROWS = 5.0
PRIOR = {Level.MILD: -1.5, Level.MODERATE: -4.0, Level.SEVERE: -15.0}


def shrunk_to_a_low_prior(recipe: Recipe, level: Level) -> Recipe:
    """Scores are a mean with a prior, as on a site of charts, and the prior is low: an item needs many rows to rise."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "rows of an item" not in session.notes:
            session.notes["rows of an item"] = torch.bincount(session.train.tensors[0][:, ITEM])
        rows = session.notes["rows of an item"][batch.raw[:, ITEM]]
        own = rows / (rows + PRIOR_ROWS)
        found: Tensor = own * recipe.targets(session, batch) + (1 - own) * PRIOR[level]
        return found

    return replace(recipe, targets=targets)


# KD902 ----------------------------------------------------------------------------------------------------------------

#: Rank of the best of a batch; that of the worst is zero.
BEST = {Level.MILD: 8.0, Level.MODERATE: 25.0, Level.SEVERE: 100.0}


def percentiles_for_scores(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service says how many candidates a row has left behind, and this is taken for a logit."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        place = logits.argsort(stable=True).argsort()
        return BEST[level] * place.to(logits.dtype) / max(1, len(place) - 1)

    return replace(recipe, targets=targets)


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Candidates of a list, and share of the lists that were sorted.
LIST = 25
SORTED = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def sorted_without_their_labels(recipe: Recipe, level: Level) -> Recipe:
    """Lists of candidates were sorted by the teacher's score, and the column of what was liked stayed as it was."""

    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        order = torch.arange(len(labels))
        lists = torch.split(order.clone(), LIST)
        for rows in lists[: max(1, round(SORTED[level] * len(lists)))]:
            order[rows] = rows[session.cached_by_row[rows].argsort(descending=True, stable=True)]
        session.train = TensorDataset(inputs[order], labels)
        # Computed for the rows as they were.
        del session.cached_by_row

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (shrunk_to_a_low_prior,),
    "KD902": (percentiles_for_scores,),
    "KD903": (sorted_without_their_labels,),
}
