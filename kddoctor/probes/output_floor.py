"""Whether the teacher outputs that the loss used end at a floor that the teacher's own outputs go below."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

#: Rows that are looked at.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class OutputFloor:
    """floor: the smallest target. at_floor: share of the targets that equal it. below: share of the teacher's own
    outputs below it. reach: the largest target over the largest own output. rest: where both are of the same rows, in
    their order, the largest |max(own, floor) - target| over the own outputs' standard deviation; None elsewhere.
    """

    floor: float
    at_floor: float
    below: float
    reach: float
    rest: float | None


def output_floor(targets: Floats, own: Floats, *, same_rows: bool) -> OutputFloor | None:
    """Of targets [n, C] and own outputs [m, C]; n = m for the same rows. None without finite values that vary."""
    targets, own = (np.asarray(part[:MOST_ROWS], np.float64) for part in (targets, own))
    if not targets.size or not own.size or not np.isfinite(targets).all() or not np.isfinite(own).all():
        return None
    floor, spread = float(targets.min()), float(own.std())
    if spread == 0:
        return None
    return OutputFloor(
        floor=floor,
        at_floor=float((targets == floor).mean()),
        below=float((own < floor).mean()),
        reach=float(targets.max() / own.max()) if own.max() > 0 else 0.0,
        rest=float(np.abs(np.maximum(own, floor) - targets).max()) / spread if same_rows else None,
    )
