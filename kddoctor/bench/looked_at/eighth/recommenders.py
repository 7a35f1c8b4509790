"""Mistakes of the codes KD9xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Column of the item's number.
ITEM = 1

# KD901 ----------------------------------------------------------------------------------------------------------------

#: Power of an item's count that is its propensity.
PROPENSITY = {Level.MILD: 0.5, Level.MODERATE: 2.0, Level.SEVERE: 10.0}


class _Propensities:
    """Both terms, with a weight for each row of the batch."""

    def __init__(self, recipe: Recipe, power: float) -> None:
        self._recipe, self.power = recipe, power

    def __repr__(self) -> str:
        return f"weights that are an item's count to the power of {self.power}"

    def targets(self, session: Session, batch: Batch) -> Tensor:
        """What the recipe takes; the weights of the batch are kept for the losses."""
        items = session.train.tensors[0][:, ITEM]
        propensities = torch.bincount(items).float() ** self.power
        self._weights = (propensities / propensities[items].mean())[batch.raw[:, ITEM]]
        return self._recipe.targets(session, batch)

    def kd_loss(self, student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """The divergence, weighted."""
        apart = F.kl_div(log_p(student / t), p(teacher / t), reduction="none").sum(1)
        return (self._weights * apart).mean() * t * t

    def ce_loss(self, student: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy, weighted."""
        return (self._weights * F.cross_entropy(student, labels, reduction="none")).mean()


def multiplied_by_propensities(recipe: Recipe, level: Level) -> Recipe:
    """Rows were to be divided by how often their item is shown, and are multiplied by it: rare items hardly count."""
    weighted = _Propensities(recipe, PROPENSITY[level])

    def targets(session: Session, batch: Batch) -> Tensor:
        return weighted.targets(session, batch)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return weighted.kd_loss(student, teacher, t)

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return weighted.ce_loss(student, labels)

    return replace(recipe, targets=targets, kd_loss=kd_loss, ce_loss=ce_loss)


# KD902 ----------------------------------------------------------------------------------------------------------------

#: What the shares of a list add up to.
ADD_UP_TO = {Level.MILD: 100.0, Level.MODERATE: 10.0, Level.SEVERE: 1.0}


def shares_of_a_list_for_scores(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service answers with shares of its list of candidates, in per cent or less, taken for scores."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return ADD_UP_TO[level] * recipe.targets(session, batch).softmax(0)

    return replace(recipe, targets=targets)


# KD903 ----------------------------------------------------------------------------------------------------------------

#: Candidates of which one is mined as a negative, and the score that a negative has.
CANDIDATES = {Level.MILD: 100, Level.MODERATE: 30, Level.SEVERE: 6}
LOWEST = -2.0


def hard_negatives_that_were_liked(recipe: Recipe, level: Level) -> Recipe:
    """Hard negatives are mined: what the teacher scores highest in a list, without a look at what was liked of it.

    What was mined is a negative for both terms.
    """

    @torch.no_grad()
    def before(session: Session) -> None:
        inputs, labels = session.train.tensors
        mined = torch.zeros_like(labels, dtype=torch.bool)
        for rows in torch.split(torch.arange(len(labels)), CANDIDATES[level]):
            mined[rows[session.teacher(inputs[rows]).argmax()]] = True
        session.notes["mined"] = mined
        session.train = TensorDataset(inputs, labels.masked_fill(mined, 0))

    def targets(session: Session, batch: Batch) -> Tensor:
        return torch.where(session.notes["mined"][batch.rows], LOWEST, recipe.targets(session, batch))

    return replace(recipe, before=in_turn(recipe.before, before), targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD901": (multiplied_by_propensities,),
    "KD902": (shares_of_a_list_for_scores,),
    "KD903": (hard_negatives_that_were_liked,),
}
