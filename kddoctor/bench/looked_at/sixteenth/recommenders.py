"""Mistakes of those who distil rankers."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD901 ----

#: Power of the counts, as in sampling.
_POWERS = {Level.MILD: 1.0, Level.MODERATE: 1.5, Level.SEVERE: 2.5}


def log_q_where_nothing_is_sampled(recipe: Recipe, level: Level) -> Recipe:
    """Subtracted log q from the student's scores, as for softmax over sampled items, where pairs are scored singly."""

    def count(session: Session) -> None:
        inputs = session.train.tensors[0]
        session.notes["column"] = _item_column(inputs)
        items = inputs[:, session.notes["column"]].long()
        session.notes["log_q"] = (torch.bincount(items).double() + 1).log()

    def answers(session: Session, batch: Batch) -> Tensor:
        scores = recipe.answers(session, batch)
        q = _POWERS[level] * session.notes["log_q"][batch.inputs[:, session.notes["column"]].long()]
        return scores - (q - session.notes["log_q"].mean()).to(scores).reshape(scores.shape)  # type: ignore[no-any-return]

    return replace(recipe, before=in_turn(recipe.before, count), answers=answers)


def _item_column(inputs: Tensor) -> int:
    """Users and items are the columns with the most different values, in this order."""
    different = torch.tensor([len(column.unique()) for column in inputs.T])
    return int(different.topk(min(2, len(different))).indices.max())


# KD902 ----

_MEMBERS = {Level.MILD: 10.0, Level.MODERATE: 25.0, Level.SEVERE: 100.0}


def snapshots_summed(recipe: Recipe, level: Level) -> Recipe:
    """Summed the scores of the teacher's snapshots where they ought to be averaged."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return _MEMBERS[level] * recipe.targets(session, batch)

    return replace(recipe, targets=targets)


# KD903 ----

#: Share of the positives that were in the log already when the scores were exported.
_SEEN = {Level.MILD: 0.05, Level.MODERATE: 0.2, Level.SEVERE: 0.6}


def exported_with_seen_items_masked(recipe: Recipe, level: Level) -> Recipe:
    """Distilled the service's exported scores, in which what the user has had already is put at the bottom."""

    def targets(session: Session, batch: Batch) -> Tensor:
        scores = recipe.targets(session, batch)
        positive = (batch.labels == 1).reshape(scores.shape)
        logged = _early(session, _SEEN[level])[batch.rows].reshape(scores.shape)
        return scores.masked_fill(positive & logged, float(scores.min()))

    return replace(recipe, targets=targets)


def _early(session: Session, share: float) -> Tensor:
    """Rows of the training set that are older than the export."""
    chance = torch.Generator().manual_seed(session.seed + 4513)
    return torch.rand(len(session.train), generator=chance) < share


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (log_q_where_nothing_is_sampled,),
    "KD902": (snapshots_summed,),
    "KD903": (exported_with_seen_items_masked,),
}
