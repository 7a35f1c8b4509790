"""KD903: what was logged as liked is overwritten by what the teacher would have liked."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Share of the logged positives that are overwritten, those with the lowest scores first.
OVERWRITTEN = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.9}
#: Rows of a candidate list.
LIST = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 32}


def filtered_as_false(recipe: Recipe, level: Level) -> Recipe:
    """Positives that the teacher scores low pass for accidental clicks, and become negatives."""

    def relabelled(scores: Tensor, labels: Tensor) -> Tensor:
        positives = labels.nonzero()[:, 0]
        lowest = positives[scores[positives].argsort()][: int(OVERWRITTEN[level] * len(positives))]
        return labels.index_fill(0, lowest, 0)

    return _before_training(recipe, relabelled)


def first_of_the_list(recipe: Recipe, level: Level) -> Recipe:
    """Candidates are sorted by the teacher's score, and the first of each list is taken for the positive."""

    def relabelled(scores: Tensor, labels: Tensor) -> Tensor:
        chosen = torch.zeros_like(labels)
        for rows in torch.split(torch.arange(len(labels)), LIST[level]):
            chosen[rows[scores[rows].argmax()]] = 1
        return chosen

    return _before_training(recipe, relabelled)


def _before_training(recipe: Recipe, relabelled: Callable[[Tensor, Tensor], Tensor]) -> Recipe:
    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        session.train = TensorDataset(inputs, relabelled(session.cached_by_row, labels))

    return replace(recipe, before=in_turn(recipe.before, before))


FAULT = Fault("KD903", seen=(filtered_as_false,), unseen=(first_of_the_list,), kinds=("ranking",))
