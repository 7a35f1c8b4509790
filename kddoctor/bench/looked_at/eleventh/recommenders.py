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

# KD901 ----------------------------------------------------------------------------------------------------------------

#: Column of the item's number, and weight of the correction; one is what sampling by popularity asks for.
ITEM = 1
CORRECTION = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 3.0}


def corrected_for_sampling_that_never_was(recipe: Recipe, level: Level) -> Recipe:
    """The student's scores are corrected in training for negatives from the batch, of which this loss has none."""

    def answers(session: Session, batch: Batch) -> Tensor:
        if "log_share" not in session.notes:
            session.notes["log_share"] = _log_share(session.train)
        log_share: Tensor = session.notes["log_share"]
        return recipe.answers(session, batch) - CORRECTION[level] * log_share[batch.raw[:, ITEM]]

    return replace(recipe, answers=answers)


def _log_share(data: TensorDataset) -> Tensor:
    """Logarithm of each item's count over that of an average row's item."""
    items = data.tensors[0][:, ITEM]
    counts = torch.bincount(items).clamp_min(1).log()
    return counts - counts[items].mean()


# KD902 ----------------------------------------------------------------------------------------------------------------

#: The best grade that a judge may give; the worst is nought.
BEST_GRADE = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 100.0}


def grades_that_no_cosine_can_reach(recipe: Recipe, level: Level) -> Recipe:
    """The teacher grades like a judge of similarity; the student's bounded score is to equal the undivided grade."""

    def kd_loss(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
        score = (student[:, 1] - student[:, 0]).tanh()
        return F.mse_loss(score, BEST_GRADE[level] * (teacher[:, 1] - teacher[:, 0]).sigmoid())

    return replace(recipe, kd_loss=kd_loss, loss="mse")


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Rows of a candidate list, and how many of them are mined.
CANDIDATES = 32
MINED = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 20}


def hard_negatives_mined_among_positives(recipe: Recipe, level: Level) -> Recipe:
    """The candidates that the teacher scores highest become hard negatives, and nobody takes out those once liked."""

    def mine(session: Session) -> None:
        inputs, labels = session.train.tensors
        labels, scores = labels.clone(), session.cached_by_row
        for rows in torch.split(torch.arange(len(labels)), CANDIDATES):
            labels[rows[scores[rows].argsort(descending=True)[: MINED[level]]]] = 0
        session.train = TensorDataset(inputs, labels)

    return replace(recipe, before=in_turn(recipe.before, mine))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (corrected_for_sampling_that_never_was,),
    "KD902": (grades_that_no_cosine_can_reach,),
    "KD903": (hard_negatives_mined_among_positives,),
}
