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

#: Factor on the logarithm of how often an item was drawn.
CORRECTED = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 2.5}


def correction_for_negatives_that_nobody_drew(recipe: Recipe, level: Level) -> Recipe:
    """In training an item's frequency is taken off its score, as for negatives from the batch, and there are none.

    What the student then says of popular items, in use, is too high by as much.
    """

    def before(session: Session) -> None:
        items = session.train.tensors[0][:, ITEM]
        counts = torch.bincount(items).clamp_min(1).log()
        session.notes["frequency"] = counts - counts[items].mean()

    def answers(session: Session, batch: Batch) -> Tensor:
        frequency: Tensor = session.notes["frequency"][batch.inputs[:, ITEM]]
        return recipe.answers(session, batch) - CORRECTED[level] * frequency

    return replace(recipe, before=in_turn(recipe.before, before), answers=answers)


# KD902 ----------------------------------------------------------------------------------------------------------------

#: Fields of a row whose log-likelihoods are added up.
FIELDS = {Level.MILD: 1, Level.MODERATE: 5, Level.SEVERE: 25}


def log_likelihood_for_a_score(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service answers with the log-likelihood of a yes, over all fields of a row, taken for a score."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return FIELDS[level] * F.logsigmoid(recipe.targets(session, batch))

    return replace(recipe, targets=targets)


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Weight of the teacher's probability beside the label.
BLENDED = {Level.MILD: 0.6, Level.MODERATE: 0.75, Level.SEVERE: 0.95}


def blended_and_rounded(recipe: Recipe, level: Level) -> Recipe:
    """The log's labels were blended with the teacher's probabilities and written to a column of integers."""

    @torch.no_grad()
    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        likely = session.teacher(inputs).sigmoid()
        blended = torch.lerp(labels.to(likely.dtype), likely, BLENDED[level]).round().to(labels.dtype)
        session.train = TensorDataset(inputs, blended)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (correction_for_negatives_that_nobody_drew,),
    "KD902": (log_likelihood_for_a_score,),
    "KD903": (blended_and_rounded,),
}
