"""Mistakes of recommenders: whose popularity, which scale of scores, and who says what was liked."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Column of the inputs that holds the item's number.
ITEM = 1

# KD901 ---------------------------------------------------------------------------------------------------------------

#: Weight of the log-popularity in the score by which the teacher's lists are served.
BOOST = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 2.0}


def distilled_from_the_served_score_with_its_popularity_boost(recipe: Recipe, level: Level) -> Recipe:
    """Took the score that the teacher's lists are served by, in which popular items get a boost, as the target."""

    def count(session: Session) -> None:
        counts = torch.bincount(session.train.tensors[0][:, ITEM]).float()
        # An item without rows is in no batch; its value only has to be finite.
        session.notes["log popularity"] = (counts / counts[counts > 0].mean()).clamp_min(1e-6).log()

    def served(session: Session, batch: Batch) -> Tensor:
        boost: Tensor = session.notes["log popularity"][batch.inputs[:, ITEM]]
        return recipe.targets(session, batch) + BOOST[level] * boost

    return replace(recipe, before=in_turn(recipe.before, count), targets=served)


# KD902 ---------------------------------------------------------------------------------------------------------------

#: What the teacher's service calls full marks: stars, points, per cent.
FULL_MARKS = {Level.MILD: 5.0, Level.MODERATE: 10.0, Level.SEVERE: 100.0}


def teacher_scores_in_stars_or_per_cent_beside_raw_student_scores(recipe: Recipe, level: Level) -> Recipe:
    """Distilled the scores that the teacher's service returns, 0 to full marks, into the student's raw dot products."""

    def marks(session: Session, batch: Batch) -> Tensor:
        return FULL_MARKS[level] * recipe.targets(session, batch).sigmoid()

    return replace(recipe, targets=marks)


# KD903 ---------------------------------------------------------------------------------------------------------------

#: Sampled items beside each logged positive.
CANDIDATES = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 20}


def positive_taken_first_from_candidates_sorted_by_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Sorted each positive's list of sampled items by teacher score and went on taking its first as the positive."""

    def sort_candidates(session: Session) -> None:
        inputs, labels = session.train.tensors
        generator = torch.Generator().manual_seed(session.seed)
        first = inputs.clone()
        best = session.cached_by_row
        for _ in range(CANDIDATES[level]):
            others = torch.randint(len(inputs), (len(inputs),), generator=generator)
            candidate = torch.cat([inputs[:, :ITEM], inputs[others, ITEM:]], dim=1)
            with torch.no_grad():
                scores = session.teacher(candidate)
            higher = (labels == 1) & (scores > best)
            first[higher], best = candidate[higher], torch.where(higher, scores, best)
        session.train = TensorDataset(first, labels)

    return replace(recipe, before=in_turn(recipe.before, sort_candidates))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (distilled_from_the_served_score_with_its_popularity_boost,),
    "KD902": (teacher_scores_in_stars_or_per_cent_beside_raw_student_scores,),
    "KD903": (positive_taken_first_from_candidates_sorted_by_the_teacher,),
}
