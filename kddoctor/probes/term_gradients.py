"""What share of each loss term's gradient the total's gradient holds, in the student's logits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TermGradients:
    """Over the steps at which the graph was still there.

    steps: how many. kd_weight, ce_weight: medians of the weights; 0 where a term carries no gradient at all, None
    where it has one and the two could not be told apart. residual: the largest relative rest that they leave.
    kd_reaches: whether the distillation term has a gradient in the student's logits.
    """

    steps: int
    kd_weight: float | None
    ce_weight: float | None
    residual: float
    kd_reaches: bool


def term_gradients_of(
    *,
    kd_weight: Floats | None,
    ce_weight: Floats | None,
    residual: Floats | None,
    kd_norm: Floats | None,
    total_norm: Floats | None,
) -> TermGradients | None:
    """From [K] numbers a step, nan where one was not seen. None where no step has the total's gradient and its rest."""
    if residual is None or total_norm is None:
        return None
    seen = np.isfinite(residual) & np.isfinite(total_norm)
    if not seen.any():
        return None
    reaches = kd_norm is not None and bool((np.nan_to_num(kd_norm[seen]) > 0).any())
    return TermGradients(
        steps=int(seen.sum()),
        kd_weight=_median(kd_weight, seen) if reaches else 0.0,
        ce_weight=_median(ce_weight, seen),
        residual=float(residual[seen].max()),
        kd_reaches=reaches,
    )


@dataclass(frozen=True)
class TermReach:
    """Whether the distillation term has a gradient in the student's logits where the label term has one.

    steps: at which the label term's gradient was seen and is not zero, and the distillation term is not zero. zero: of
    these, those at which the distillation term's gradient was seen and is zero; unseen: those without one at all.
    """

    steps: int
    zero: int
    unseen: int


def term_reach_of(kd_loss: Floats, kd_norm: Floats | None, ce_norm: Floats) -> TermReach | None:
    """From [K] numbers a step, nan where one was not seen; None without a step to tell by."""
    counted = np.isfinite(ce_norm) & (np.nan_to_num(ce_norm) > 0) & np.isfinite(kd_loss) & (kd_loss != 0)
    if not counted.any():
        return None
    norms = np.full(int(counted.sum()), np.nan) if kd_norm is None else kd_norm[counted]
    return TermReach(len(norms), int((norms == 0).sum()), int(np.isnan(norms).sum()))


def _median(values: Floats | None, seen: NDArray[np.bool_]) -> float | None:
    if values is None or not np.isfinite(values[seen]).any():
        return None
    return float(np.nanmedian(values[seen]))
