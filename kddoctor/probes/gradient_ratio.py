"""How strong the distillation term pulls at the student's logits, against the hard-label term."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_results import LossForensics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GradientRatio:
    """Without the terms' weights. ratio: [steps] ‖∂ kd / ∂ z_S‖ / ‖∂ ce / ∂ z_S‖, with z_S the student's logits."""

    ratio: Array

    @property
    def median(self) -> float:
        """Over the steps."""
        return float(np.median(self.ratio))

    def below(self, limit: float) -> float:
        """Share of the steps whose ratio is below ``limit``."""
        return float((self.ratio < limit).mean())


def gradient_ratio(
    kd: NDArray[np.float64] | None, ce: NDArray[np.float64] | None, weighted: bool, loss: LossForensics
) -> GradientRatio | None:
    """From recorded norms where the terms carry no weights, else from what forensics found; None without either."""
    if kd is not None and ce is not None and not weighted:
        good = np.isfinite(kd) & np.isfinite(ce) & (ce > 0)
        return GradientRatio(kd[good] / ce[good]) if good.any() else None
    share, mix = loss.kd_share, loss.mix
    if share is None or mix is None or not mix.kd_weight or not mix.ce_weight:
        return None
    inside = (share > 0) & (share < 1)
    if not inside.any():
        return None
    return GradientRatio(share[inside] / (1 - share[inside]) * abs(mix.ce_weight / mix.kd_weight))
