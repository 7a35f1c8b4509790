"""Mistakes of recommenders, held out: what a teacher's scores say of popularity, their scale, and logged positives."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: The column of the inputs that holds the item.
ITEM = 1

# KD901 ---------------------------------------------------------------------------------------------------------------

#: Weight of the popularity in the scores.
BOOST = {Level.MILD: 0.3, Level.MODERATE: 1.0, Level.SEVERE: 2.0}


def distil_scores_that_hold_the_popularity_boost(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher's scores as they are served: with log-popularity added to rank popular items first."""

    def boosted(session: Session, batch: Batch) -> Tensor:
        scores = recipe.targets(session, batch)
        return scores + BOOST[level] * _log_popularity(session, batch.raw[:, ITEM])

    return replace(recipe, targets=boosted)


def _log_popularity(session: Session, items: Tensor) -> Tensor:
    """[B]: log of how often each item occurs in the log, relative to the item of an average row."""
    seen = session.train.tensors[0][:, ITEM].long()
    log_count = torch.bincount(seen).clamp_min(1).double().log()
    return (log_count[items.long()] - log_count[seen].mean()).float()


# KD902 ---------------------------------------------------------------------------------------------------------------

#: What the service returns for a certain yes: five stars, a probability, per cent.
FULL_SCORE = {Level.MILD: 5.0, Level.MODERATE: 1.0, Level.SEVERE: 100.0}


def take_served_scores_for_logits(recipe: Recipe, level: Level) -> Recipe:
    """Took what the teacher's service returns (a probability, stars, per cent) where the loss expects raw scores."""

    def served(session: Session, batch: Batch) -> Tensor:
        return FULL_SCORE[level] * recipe.targets(session, batch).sigmoid()

    return replace(recipe, targets=served)


# KD903 ---------------------------------------------------------------------------------------------------------------

#: The teacher's probability below which a logged positive is taken for an accidental click.
BELIEVED = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.8}


def clean_logged_positives_by_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Overwrote the label of each logged positive that the teacher does not believe in, taking it for noise."""

    def cleaned(session: Session, batch: Batch) -> Tensor:
        scores = recipe.targets(session, batch)
        batch.labels[scores.sigmoid() < BELIEVED[level]] = 0
        return scores

    return replace(recipe, targets=cleaned)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (distil_scores_that_hold_the_popularity_boost,),
    "KD902": (take_served_scores_for_logits,),
    "KD903": (clean_logged_positives_by_the_teacher,),
}
