"""KD604: some classes are worse after the distillation, and only those."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Classes that pay, one in so many, and what their logits are lowered by, in standard deviations of a row.
ONE_IN = 5
LOWERED = {Level.MILD: 1.0, Level.MODERATE: 1.4, Level.SEVERE: 3.0}
#: Weight of a row of these classes.
WEIGHT = {Level.MILD: 0.03, Level.MODERATE: 0.01, Level.SEVERE: 0.0}


def adjusted_the_wrong_way(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits are adjusted by the class frequencies of its own training, with the wrong sign."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        rare = _rare(logits.shape[-1]).to(logits.dtype)
        return logits - LOWERED[level] * logits.std(-1, keepdim=True) * rare

    return replace(recipe, targets=targets)


def weights_of_another_data_set(recipe: Recipe, level: Level) -> Recipe:
    """Both terms weigh their rows by class, with the weights of a data set in which these classes did not matter."""

    def weights(rows: Tensor) -> Tensor:
        return 1 - (1 - WEIGHT[level]) * _rare(rows.shape[-1]).to(rows.dtype)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        target = p(teacher / t)
        each = (target * (log_p(teacher / t) - log_p(student / t))).sum(-1)
        return (weights(teacher)[teacher.argmax(-1)] * each).mean() * t * t

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(student, labels, weight=weights(student))

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


def _rare(classes: int) -> Tensor:
    return torch.arange(classes) % ONE_IN == ONE_IN - 1


FAULT = Fault(
    "KD604",
    seen=(adjusted_the_wrong_way,),
    unseen=(weights_of_another_data_set,),
    kinds=("multiclass",),
)
