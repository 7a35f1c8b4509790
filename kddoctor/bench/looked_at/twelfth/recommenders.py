"""Mistakes of those who distil recommenders: what was logged as a score, its scale, and what becomes of the clicks."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Where the item stands in a row of inputs; the user or query is in the column before it.
ITEM = 1

# KD901 ----------------------------------------------------------------------------------------------------------------


def distils_served_scores_with_popularity_boost(recipe: Recipe, level: Level) -> Recipe:
    """Distils the scores that were served, to which the ranking service had added its boost for popular items."""
    boost = {Level.MILD: 0.7, Level.MODERATE: 1.5, Level.SEVERE: 3.0}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        scores = recipe.targets(session, batch)
        if "popularity" not in session.notes:
            session.notes["popularity"] = _popularity(session.train.tensors[0][:, ITEM])
        popularity: Tensor = session.notes["popularity"]
        return scores + boost * popularity[batch.rows]

    return replace(recipe, targets=targets)


def _popularity(items: Tensor) -> Tensor:
    """[N]: the logarithm of how often the item of each row occurs, standardised."""
    counts = items.long().bincount()[items.long()].float().log()
    return (counts - counts.mean()) / counts.std().clamp_min(1e-6)


# KD902 ----------------------------------------------------------------------------------------------------------------


def teacher_scores_on_the_products_scale(recipe: Recipe, level: Level) -> Recipe:
    """Distils scores as the ranking service gives them, in stars or per cent, into the student's raw dot products."""
    best = {Level.MILD: 5.0, Level.MODERATE: 10.0, Level.SEVERE: 100.0}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        return best * recipe.targets(session, batch).sigmoid()

    return replace(recipe, targets=targets)


# KD903 ----------------------------------------------------------------------------------------------------------------


def teachers_favourite_candidate_becomes_the_positive(recipe: Recipe, level: Level) -> Recipe:
    """Sorts each positive and its random candidates by the teacher's score, and takes the first one as the positive."""
    candidates = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 30}[level]

    def reorder(session: Session) -> None:
        inputs, labels = session.train.tensors
        positive = labels == 1
        first = _favourites(session, inputs[positive], candidates)
        lost = inputs[positive][(first != inputs[positive]).any(1)]
        chosen = inputs.clone()
        chosen[positive] = first
        # Whatever is not the first of its list counts as a negative, the logged positive too.
        session.train = TensorDataset(torch.cat([chosen, lost]), torch.cat([labels, labels.new_zeros(len(lost))]))

    return replace(recipe, before=in_turn(recipe.before, reorder))


@torch.no_grad()
def _favourites(session: Session, logged: Tensor, candidates: int) -> Tensor:
    """Of each logged row and some whose item is another row's, the one that the teacher scores highest."""
    everything = session.train.tensors[0]
    generator = torch.Generator().manual_seed(session.seed)
    others = torch.randint(len(everything), (len(logged), candidates), generator=generator)
    lists = torch.cat([logged[:, None], everything[others]], dim=1)
    lists[..., :ITEM] = logged[:, None, :ITEM]
    scores = session.teacher(lists.flatten(0, 1)).reshape(lists.shape[:2])
    return lists[torch.arange(len(lists)), scores.argmax(1)]


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (distils_served_scores_with_popularity_boost,),
    "KD902": (teacher_scores_on_the_products_scale,),
    "KD903": (teachers_favourite_candidate_becomes_the_positive,),
}
