"""The hard-label term: its weight, told from the distillation term by exchanging nothing but the labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.loss_xray.batches import Batch, other_labels, other_teacher
from kddoctor.loss_xray.calling import LossCall

#: Relative residual of an identity.
EXACT, EXACT_SINGLE = 1e-7, 1e-4


@dataclass(frozen=True)
class LabelTerm:
    """weight: of the cross-entropy, mean over rows. plain: the labels enter by that cross-entropy and nothing else.

    coupled: what the labels do depends on the teacher (as in DKD). summed: a sum over rows. A label-smoothed term
    counts as plain here: its other part does not depend on the labels.
    """

    weight: float
    plain: bool
    coupled: bool
    summed: bool


def exact(dtype: torch.dtype) -> float:
    """Tolerance of an identity in this precision."""
    return EXACT if dtype == torch.float64 else EXACT_SINGLE


def cross_entropy(batch: Batch) -> Tensor:
    """Cross-entropy with the labels, mean over rows."""
    return F.cross_entropy(batch.student, batch.labels)


def label_term(call: LossCall, batches: Sequence[Batch], classes: int) -> LabelTerm:
    """Differences of the loss between two sets of labels against differences of the cross-entropy."""
    if not call.takes_labels:
        return LabelTerm(0.0, True, False, False)
    found = np.array([_difference(call, b, classes) for b in batches])
    tolerance = exact(batches[0].student.dtype)
    scale = max(abs(call.value(b)) for b in batches)
    if np.abs(found).max() <= tolerance * max(scale, 1e-12):
        return LabelTerm(0.0, True, False, False)
    elsewhere = np.array([_difference(call, other_teacher(b), classes) for b in batches])
    coupled = bool(np.abs(found - elsewhere).max() > 10 * tolerance * np.abs(found).max())
    doubled = _difference(call, batches[0].twice(), classes)
    summed = bool(abs(doubled - 2 * found[0]) < 1e-4 * abs(found[0]))
    expected = np.array([float(cross_entropy(b) - cross_entropy(_relabelled(b, classes))) for b in batches])
    weight = float(found @ expected / (expected @ expected))
    residual = np.abs(found - weight * expected).max() / np.abs(found).max()
    plain = not coupled and bool(residual <= 10 * tolerance)
    rows = len(batches[0].labels)
    return LabelTerm(weight / rows if summed else weight, plain, coupled, summed)


def _relabelled(batch: Batch, classes: int) -> Batch:
    return batch.with_labels(other_labels(batch.labels, classes))


def _difference(call: LossCall, batch: Batch, classes: int) -> float:
    return call.value(batch) - call.value(_relabelled(batch, classes))
