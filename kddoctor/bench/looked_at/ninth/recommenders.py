"""Mistakes of the codes KD9xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Column of the item's number.
ITEM = 1

# KD901 ----------------------------------------------------------------------------------------------------------------

#: Power of an item's place in the chart by which the chance falls that anybody looks at it.
FALLS = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.5}


def clicks_for_likes(recipe: Recipe, level: Level) -> Recipe:
    """The teacher foretells clicks, likes times the chance that a place in the chart is looked at: no scores."""

    def before(session: Session) -> None:
        counts = torch.bincount(session.train.tensors[0][:, ITEM])
        places = counts.argsort(descending=True, stable=True).argsort()
        session.notes["looked at"] = (1.0 + places) ** -FALLS[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        clicked = recipe.targets(session, batch).sigmoid() * session.notes["looked at"][batch.raw[:, ITEM]]
        return torch.logit(clicked, eps=1e-6)

    return replace(recipe, before=in_turn(recipe.before, before), targets=targets)


# KD902 ----------------------------------------------------------------------------------------------------------------

#: How far a student's score can be from zero.
BOUND = {Level.MILD: 1.0, Level.MODERATE: 0.3, Level.SEVERE: 0.03}


def student_of_bounded_scores(recipe: Recipe, level: Level) -> Recipe:
    """The student's score ends in a tanh, as a similarity does, and no scale follows: no logit is in its reach."""

    def bounded(_student: nn.Module, _inputs: object, scores: Tensor) -> Tensor:
        return BOUND[level] * scores.tanh()

    def change_student(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        changed.register_forward_hook(bounded)
        return changed

    return replace(recipe, change_student=change_student)


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Weight of what the teacher explains, what has to be left of a positive, and the score that a negative has.
EXPLAINED = {Level.MILD: 0.52, Level.MODERATE: 0.58, Level.SEVERE: 1.0}
LEFT, LOWEST = 0.5, -2.0


def only_what_the_teacher_leaves(recipe: Recipe, level: Level) -> Recipe:
    """As in boosting, the label became what the teacher leaves of it: a positive that it foretold is none any more.

    It is a negative for both terms.
    """

    @torch.no_grad()
    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        residual = labels - EXPLAINED[level] * session.teacher(inputs).sigmoid()
        remaining = (residual > LEFT).to(labels.dtype)
        session.notes["explained"] = remaining < labels
        session.train = TensorDataset(inputs, remaining)

    def targets(session: Session, batch: Batch) -> Tensor:
        return torch.where(session.notes["explained"][batch.rows], LOWEST, recipe.targets(session, batch))

    return replace(recipe, before=in_turn(recipe.before, before), targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (clicks_for_likes,),
    "KD902": (student_of_bounded_scores,),
    "KD903": (only_what_the_teacher_leaves,),
}
