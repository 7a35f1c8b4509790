"""Mistakes in the distillation of recommenders."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: The column of a row's item, beside the user's.
ITEM = 1

# KD901 ----------------------------------------------------------------------------------------------------

#: Share of the interactions whose items are too rare for the export.
_RARE = {Level.MILD: 0.04, Level.MODERATE: 0.25, Level.SEVERE: 0.5}


def filled_up_what_the_export_did_not_hold(recipe: Recipe, level: Level) -> Recipe:
    """Read teacher scores from an export of the frequent items, and gave all others the lowest score in it."""

    def before(session: Session) -> None:
        recipe.before(session)
        session.notes["exported"] = _frequent(session.train.tensors[0][:, ITEM].long(), _RARE[level])

    def targets(session: Session, batch: Batch) -> Tensor:
        scores = recipe.targets(session, batch)
        exported = session.notes["exported"][batch.rows].reshape(-1, *[1] * (scores.ndim - 1))
        return torch.where(exported, scores, session.cached_by_row.min())

    return replace(recipe, before=before, targets=targets)


def _frequent(items: Tensor, share: float) -> Tensor:
    counts = torch.bincount(items)[items].double()
    return counts > counts.quantile(share)


# KD902 ----------------------------------------------------------------------------------------------------

#: What the teacher's loss divided its scores by.
_DIVISORS = {Level.MILD: 0.3, Level.MODERATE: 0.1, Level.SEVERE: 0.03}


def exported_scores_before_their_division(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher on scores over a small constant, as contrastive losses have it, and exported them without."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits / _DIVISORS[level], labels)

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD903 ----------------------------------------------------------------------------------------------------

#: Share of the logged positives, those with the best scores first, that the mined negatives hold.
_MINED = {Level.MILD: 0.03, Level.MODERATE: 0.2, Level.SEVERE: 0.5}


def mined_hard_negatives_among_the_logged_items(recipe: Recipe, level: Level) -> Recipe:
    """Took what the teacher scores best as hard negatives, without taking out what the user is known to like."""

    def before(session: Session) -> None:
        recipe.before(session)
        scores, labels = session.cached_by_row.flatten(), session.train.tensors[1] > 0
        session.notes["mined"] = labels & (scores > scores[labels].quantile(1 - _MINED[level]))

    def targets(session: Session, batch: Batch) -> Tensor:
        scores = recipe.targets(session, batch)
        mined = session.notes["mined"][batch.rows].reshape(-1, *[1] * (scores.ndim - 1))
        return torch.where(mined, session.cached_by_row.min(), scores)

    return replace(recipe, before=before, targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (filled_up_what_the_export_did_not_hold,),
    "KD902": (exported_scores_before_their_division,),
    "KD903": (mined_hard_negatives_among_the_logged_items,),
}
