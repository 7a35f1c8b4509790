"""What share of each loss term's gradient the total's gradient holds, in the student's logits."""
"""How strong the distillation term pulls at the student's logits, against the hard-label term."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
from kddoctor.probes.loss_results import LossForensics

Array = NDArray[np.float64]


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
    """Without the terms' weights. ratio: [steps] ‖∂ kd / ∂ z_S‖ / ‖∂ ce / ∂ z_S‖, with z_S the student's logits."""

    ratio: Array

    @property
    def median(self) -> float:
        """Over the steps."""
        return float(np.median(self.ratio))

    def below(self, limit: float) -> float:
        """Share of the steps whose ratio is below ``limit``."""
        return float((self.ratio < limit).mean())


def term_gradients(
    kd: NDArray[np.float64] | None, ce: NDArray[np.float64] | None, weighted: bool, loss: LossForensics
) -> TermGradients | None:
    """From recorded norms where the terms carry no weights, else from what forensics found; None without either."""
    if kd is not None and ce is not None and not weighted:
        good = np.isfinite(kd) & np.isfinite(ce) & (ce > 0)
        return TermGradients(kd[good] / ce[good]) if good.any() else None
    share, mix = loss.kd_share, loss.mix
    if share is None or mix is None or not mix.kd_weight or not mix.ce_weight:
        return None
    inside = (share > 0) & (share < 1)
    if not inside.any():
        return None
    return TermGradients(share[inside] / (1 - share[inside]) * abs(mix.ce_weight / mix.kd_weight))
