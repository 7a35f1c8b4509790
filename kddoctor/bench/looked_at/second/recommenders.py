"""Mistakes of the codes KD9xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Columns of the user's and the item's number.
USER, ITEM = 0, 1

# KD901 ----------------------------------------------------------------------------------------------------------------

#: Power of an item's count by which its rows are drawn, and share of the items that the teacher's list holds.
POWER = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 3.0}
LISTED = {Level.MILD: 0.7, Level.MODERATE: 0.4, Level.SEVERE: 0.1}
#: Score of what the list does not hold.
LOWEST = -4.0


def drawn_by_popularity(recipe: Recipe, level: Level) -> Recipe:
    """Rows are drawn with a weight for their item's popularity, on top of its occurring in more of them."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        generator = torch.Generator().manual_seed(97)
        weights = _counts(whole)[whole.tensors[0][:, ITEM]].double() ** POWER[level]
        rows = torch.multinomial(weights, len(whole), replacement=True, generator=generator)
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


def lowest_beyond_the_list(recipe: Recipe, level: Level) -> Recipe:
    """The teacher scores the most popular items alone, and a score that is missing is filled with the lowest."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "listed" not in session.notes:
            counts = _counts(session.train)
            order = counts.argsort(descending=True, stable=True)
            session.notes["listed"] = order[: max(2, int(LISTED[level] * int((counts > 0).sum())))]
        listed = torch.isin(batch.raw[:, ITEM], session.notes["listed"])
        return torch.where(listed, recipe.targets(session, batch), LOWEST)

    return replace(recipe, targets=targets)


def _counts(data: TensorDataset) -> Tensor:
    return torch.bincount(data.tensors[0][:, ITEM])


# KD902 ----------------------------------------------------------------------------------------------------------------

#: The highest number of points, and the length by which a dot product was divided.
POINTS = {Level.MILD: 10.0, Level.MODERATE: 30.0, Level.SEVERE: 100.0}
LENGTH = {Level.MILD: 8.0, Level.MODERATE: 20.0, Level.SEVERE: 80.0}


def points_for_logits(recipe: Recipe, level: Level) -> Recipe:
    """The teacher gives points, from zero up to a round number, and they are taken for logits."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return (POINTS[level] * recipe.targets(session, batch).sigmoid()).round()

    return replace(recipe, targets=targets)


def divided_by_the_length(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's vectors were normalised for a search index: what was a dot product is a cosine, and far smaller."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return recipe.targets(session, batch) / LENGTH[level]

    return replace(recipe, targets=targets)


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that were joined with the teacher's verdicts, and of the users whose rows were ranked anew.
JOINED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}
RANKED_ANEW = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}
#: Score from which the teacher says yes.
YES = 1.0


def joined_with_verdicts(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's verdicts were joined to the log, and their column has the name of the column of what was liked."""

    def relabelled(scores: Tensor, data: TensorDataset) -> Tensor:
        _, labels = data.tensors
        joined = torch.rand(labels.shape, generator=torch.Generator().manual_seed(101)) < JOINED[level]
        return torch.where(joined, (scores > YES).long(), labels)

    return _with_new_labels(recipe, relabelled)


def best_of_each_user(recipe: Recipe, level: Level) -> Recipe:
    """Each user has as many positives as before, and they are now those that the teacher ranks first."""

    def relabelled(scores: Tensor, data: TensorDataset) -> Tensor:
        inputs, labels = data.tensors
        chosen = labels.clone()
        users = sorted(set(inputs[:, USER].tolist()))
        for user in users[: round(RANKED_ANEW[level] * len(users))]:
            rows = (inputs[:, USER] == user).nonzero()[:, 0]
            best = rows[scores[rows].argsort(descending=True)][: int(labels[rows].sum())]
            chosen[rows] = 0
            chosen[best] = 1
        return chosen

    return _with_new_labels(recipe, relabelled)


def _with_new_labels(recipe: Recipe, relabelled: Callable[[Tensor, TensorDataset], Tensor]) -> Recipe:
    def before(session: Session) -> None:
        inputs, _ = session.train.tensors
        session.train = TensorDataset(inputs, relabelled(session.cached_by_row, session.train))

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (drawn_by_popularity, lowest_beyond_the_list),
    "KD902": (points_for_logits, divided_by_the_length),
    "KD903": (joined_with_verdicts, best_of_each_user),
}
