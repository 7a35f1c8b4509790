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


def _median(values: Floats | None, seen: NDArray[np.bool_]) -> float | None:
    if values is None or not np.isfinite(values[seen]).any():
        return None
    return float(np.nanmedian(values[seen]))
