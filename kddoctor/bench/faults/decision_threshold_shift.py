"""KD705: the order of the scores is sound, and the threshold for them has moved."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Weight of a positive, and of how many negatives one was kept for the teacher.
POSITIVE = {Level.MILD: 3.0, Level.MODERATE: 6.0, Level.SEVERE: 20.0}
KEPT_ONE_IN = {Level.MILD: 3.0, Level.MODERATE: 6.0, Level.SEVERE: 20.0}


def weight_of_rarer_positives(recipe: Recipe, level: Level) -> Recipe:
    """Both terms keep the weight that positives had in a data set where they were rare."""

    def weights(rows: Tensor) -> Tensor:
        return torch.tensor([1.0, POSITIVE[level]], dtype=rows.dtype) / (0.5 + 0.5 * POSITIVE[level])

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        target = p(teacher / t)
        return (weights(teacher) * target * (log_p(teacher / t) - log_p(student / t))).sum(-1).mean() * t * t

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(student, labels, weight=weights(student))

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


def negatives_sampled_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's scores are those of a model trained on one in a few negatives; nobody takes the logarithm off."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return recipe.targets(session, batch) + torch.tensor(KEPT_ONE_IN[level]).log()

    return replace(recipe, targets=targets)


FAULT = Fault(
    "KD705",
    seen=(weight_of_rarer_positives,),
    unseen=(negatives_sampled_for_the_teacher,),
    kinds=("ranking",),
)
