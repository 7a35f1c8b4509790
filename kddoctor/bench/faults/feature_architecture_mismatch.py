"""KD403: a feature loss that presumes two models of the same kind."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.hints import features_that_count, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Weight of the feature term beside a loss near 1, as papers on twins of one family give it.
UNITS = {Level.MILD: 0.06, Level.MODERATE: 0.2, Level.SEVERE: 6.0}
MAPS = {Level.MILD: 200.0, Level.MODERATE: 300.0, Level.SEVERE: 450.0}


def unit_by_unit(recipe: Recipe, level: Level) -> Recipe:
    """Unit i of the student is to be unit i of the teacher, as in a pruned copy; no projector lies between them."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        width = min(student.shape[1], teacher.shape[1])
        return F.mse_loss(student[:, :width], teacher[:, :width].detach())

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=UNITS[level])


def attention_maps(recipe: Recipe, level: Level) -> Recipe:
    """Attention transfer: energies along the features, resized, although the student's have no such order."""

    def energy(features: Tensor, width: int) -> Tensor:
        resized: Tensor = F.interpolate(features.square()[:, None], width, mode="linear", align_corners=False)[:, 0]
        return F.normalize(resized, dim=1)

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        width = student.shape[1]
        with torch.no_grad():
            wanted = energy(teacher, width)
        return (energy(student, width) - wanted).square().mean()

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=MAPS[level])


FAULT = Fault("KD403", seen=(unit_by_unit,), unseen=(attention_maps,), kinds=("multiclass", "tokens"))
