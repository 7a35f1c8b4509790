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

#: Share of the items, from the rarest on, that the student knows by one number.
RARE = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def one_number_for_all_rare_items(recipe: Recipe, level: Level) -> Recipe:
    """A minimum count in the student's list of items: the rare ones share a number, and none of them stands out."""

    def before(session: Session) -> None:
        counts = torch.bincount(session.train.tensors[0][:, ITEM])
        seen = counts.nonzero()[:, 0]
        order = seen[counts[seen].argsort(stable=True)]
        known = order[int(RARE[level] * len(order)) :]
        shared = int(order[0])

        def look_up(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            items = inputs[0][:, ITEM : ITEM + 1]
            found = torch.where(torch.isin(items, known), items, shared)
            return torch.cat([inputs[0][:, :ITEM], found, inputs[0][:, ITEM + 1 :]], dim=1)

        session.student.register_forward_pre_hook(look_up)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD902 ----------------------------------------------------------------------------------------------------------------

#: Factor on a score before it is raised to a power of e.
RAISED = {Level.MILD: 0.7, Level.MODERATE: 1.0, Level.SEVERE: 1.6}


def odds_for_their_logarithm(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service answers with odds, and the student takes them for their logarithm."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return (RAISED[level] * recipe.targets(session, batch)).exp()

    return replace(recipe, targets=targets)


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Share of the logged positives whose candidates were ranked anew, and candidates of each.
RANKED = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
CANDIDATES = 32


def favourites_take_over_the_label(recipe: Recipe, level: Level) -> Recipe:
    """For each logged positive the teacher ranks candidates drawn from all rows: its first one takes over the label.

    What was logged is left as a negative, and the teacher's favourites take the place of many positives each.
    """

    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        scores, chosen = session.cached_by_row, labels.clone()
        generator = torch.Generator().manual_seed(137)
        positives = labels.nonzero()[:, 0]
        order = torch.randperm(len(positives), generator=generator)[: int(RANKED[level] * len(positives))]
        for positive in positives[order].tolist():
            drawn = torch.randint(len(labels), (CANDIDATES,), generator=generator)
            chosen[positive], chosen[drawn[scores[drawn].argmax()]] = 0, 1
        session.train = TensorDataset(inputs, chosen)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (one_number_for_all_rare_items,),
    "KD902": (odds_for_their_logarithm,),
    "KD903": (favourites_take_over_the_label,),
}
