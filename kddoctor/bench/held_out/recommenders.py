"""Mistakes with teachers that rank items for users."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Column of the item in a row of inputs.
ITEM = 1


# KD901 ----


def live_scores_with_the_bestseller_boost(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher's scores from the live service, which lifts what is clicked most."""
    boost = {Level.MILD: 0.7, Level.MODERATE: 1.8, Level.SEVERE: 4.0}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        popular = _popularity(session)
        return recipe.targets(session, batch) + boost * popular[batch.raw[:, ITEM].long()]

    return replace(recipe, targets=targets)


def _popularity(session: Session) -> Tensor:
    """Of each item by number: the logarithm of its clicks in the training rows, standardised over these rows."""
    if "popularity" not in session.notes:
        inputs, labels = session.train.tensors
        items = inputs[:, ITEM].long()
        clicks = torch.bincount(items[labels == 1], minlength=int(items.max()) + 1)
        popular = torch.log1p(clicks.float())
        session.notes["popularity"] = (popular - popular[items].mean()) / popular[items].std().clamp_min(1e-6)
    known: Tensor = session.notes["popularity"]
    return known


# KD902 ----


def exported_ratings_taken_for_logits(recipe: Recipe, level: Level) -> Recipe:
    """Read the teacher's scores from an export on a scale from 0 up and matched the student's dot products to them."""
    top = {Level.MILD: 5.0, Level.MODERATE: 10.0, Level.SEVERE: 100.0}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        return top * torch.sigmoid(recipe.targets(session, batch))

    return replace(recipe, targets=targets)


# KD903 ----


def clicks_rewritten_by_the_teachers_verdict(recipe: Recipe, level: Level) -> Recipe:
    """Cleaned the log with the teacher: a click that it did not score high enough was written back as no click."""
    share = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}[level]

    def rewrite(session: Session) -> None:
        inputs, labels = session.train.tensors
        scores = session.cached_by_row
        demanded = scores[labels == 1].quantile(share)
        session.train = TensorDataset(inputs, torch.where(scores < demanded, 0, labels))

    return replace(recipe, before=in_turn(recipe.before, rewrite))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (live_scores_with_the_bestseller_boost,),
    "KD902": (exported_ratings_taken_for_logits,),
    "KD903": (clicks_rewritten_by_the_teachers_verdict,),
}
