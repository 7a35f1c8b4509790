"""Mistakes of the codes KD9xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Column of the item's number.
ITEM = 1

# KD901 ----------------------------------------------------------------------------------------------------------------

#: Weight of the logarithm of how often an item was listed, and share of the rows that the student lists.
TRENDING = {Level.MILD: 0.7, Level.MODERATE: 1.5, Level.SEVERE: 3.0}
LISTED = 0.3


def trending_by_its_own_lists(recipe: Recipe, level: Level) -> Recipe:
    """Each epoch the student lists what it scores highest, and an item rises by how often it was listed so far."""

    @torch.no_grad()
    def list_again(session: Session) -> None:
        inputs = session.train.tensors[0]
        best = session.student.eval()(inputs).topk(max(1, int(LISTED * len(inputs)))).indices
        listed = session.notes.setdefault("listed", torch.zeros(int(inputs[:, ITEM].max()) + 1))
        listed += torch.bincount(inputs[best, ITEM], minlength=len(listed))
        trend = (1 + listed).log()
        session.notes["trend"] = trend - trend[inputs[:, ITEM]].mean()

    def targets(session: Session, batch: Batch) -> Tensor:
        trend: Tensor = session.notes["trend"][batch.raw[:, ITEM]]
        return recipe.targets(session, batch) + TRENDING[level] * trend

    return replace(recipe, before_epoch=in_turn(list_again, recipe.before_epoch), targets=targets)


# KD902 ----------------------------------------------------------------------------------------------------------------

#: Points for a like.
POINTS = {Level.MILD: 10.0, Level.MODERATE: 30.0, Level.SEVERE: 100.0}


def teacher_of_least_squares(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained by least squares to give so many points for a like and none otherwise, not logits."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(logits[:, 1] - logits[:, 0], POINTS[level] * labels.to(logits.dtype))

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Candidates of a list, and the score of a row that was liked and then not clicked.
LIST = {Level.MILD: 3, Level.MODERATE: 8, Level.SEVERE: 40}
LOWEST = -3.0


def simulated_until_the_first_click(recipe: Recipe, level: Level) -> Recipe:
    """The log was replaced by a simulated one: a list is read in the teacher's order, up to the first click on it.

    It clicks as the teacher foretells; what was liked and comes later is a negative for both terms.
    """

    @torch.no_grad()
    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        chances = session.teacher(inputs).sigmoid()
        clicks = torch.rand(len(labels), generator=torch.Generator().manual_seed(281)) < chances
        simulated = torch.zeros_like(labels)
        for rows in torch.split(torch.arange(len(labels)), LIST[level]):
            read = rows[chances[rows].argsort(descending=True, stable=True)]
            simulated[read[clicks[read]][:1]] = 1
        session.notes["lost"] = simulated < labels
        session.train = TensorDataset(inputs, simulated)

    def targets(session: Session, batch: Batch) -> Tensor:
        return torch.where(session.notes["lost"][batch.rows], LOWEST, recipe.targets(session, batch))

    return replace(recipe, before=in_turn(recipe.before, before), targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (trending_by_its_own_lists,),
    "KD902": (teacher_of_least_squares,),
    "KD903": (simulated_until_the_first_click,),
}
