"""How much of the recorded loss a feature term makes up."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Steps that a fit of three weights needs, and the relative error up to which the three terms are the whole loss.
MIN_STEPS, EXACT = 8, 1e-3
#: Values of the term in an epoch, and epochs, from which it shows whether it is another term in each.
MIN_VALUES, MIN_EPOCHS = 4, 8


@dataclass(frozen=True)
class FeatureTerm:
    """loss = a kd + b ce + w feature, fitted by least squares over the recorded steps.

    weight: w. error: largest relative error of the fit. share_first, share_last: w feature over the loss, median of the
    first and of the last quarter. left: the term at the end over the term at the beginning. steps: counted.
    redrawn: how much more the term's mean changes from epoch to epoch, other than steadily, than its noise within them
    explains (1: as much); None where too few epochs were logged.
    """

    weight: float
    error: float
    share_first: float
    share_last: float
    left: float
    steps: int
    redrawn: float | None = None


def feature_term(loss: Array, kd: Array | None, ce: Array | None, feature: Array) -> FeatureTerm | None:
    """Columns [K]. None for fewer than eight steps, without both other terms, or where the three do not add up."""
    if kd is None or ce is None:
        return None
    columns = np.column_stack([kd, ce, feature])
    good = np.isfinite(columns).all(axis=1) & np.isfinite(loss)
    columns, loss = columns[good], loss[good]
    if len(loss) < MIN_STEPS or not np.abs(loss).min() > 0:
        return None
    scale = np.abs(columns).max(axis=0)
    if not (scale > np.finfo(np.float64).tiny).all():
        return None
    # Both sides in units of their own: a loss near the end of the range has squares beyond it.
    unit = float(np.abs(loss).max())
    weights = np.linalg.lstsq(columns / scale, loss / unit, rcond=None)[0] * (unit / scale)
    error = float((np.abs(columns @ weights - loss) / np.abs(loss)).max())
    if error > EXACT:
        return None
    share = weights[2] * columns[:, 2] / loss
    few = max(2, len(loss) // 4)
    return FeatureTerm(
        weight=float(weights[2]),
        error=error,
        share_first=float(np.median(share[:few])),
        share_last=float(np.median(share[-few:])),
        left=float(np.median(columns[-few:, 2]) / max(np.median(columns[:few, 2]), 1e-12)),
        steps=len(loss),
    )


def redrawn(rows: Sequence[Mapping[str, object]]) -> float | None:
    """Variance of the second differences of the epochs' means, over that of independent noise, in the second half.

    rows: of metrics.jsonl, with ``feature_loss`` and ``epoch``.
    """
    by_epoch: dict[float, list[float]] = {}
    for row in rows:
        value, epoch = row.get("feature_loss"), row.get("epoch")
        if isinstance(value, int | float) and isinstance(epoch, int | float) and math.isfinite(value):
            by_epoch.setdefault(float(epoch), []).append(float(value))
    epochs = [np.array(by_epoch[epoch]) for epoch in sorted(by_epoch) if len(by_epoch[epoch]) >= MIN_VALUES]
    epochs = epochs[len(epochs) // 2 :]
    if len(epochs) < MIN_EPOCHS:
        return None
    means = np.array([values.mean() for values in epochs])
    noise = float(np.mean([values.var(ddof=1) / len(values) for values in epochs]))
    # Var(m1 - 2 m2 + m3) = (1 + 4 + 1) Var(m).
    return float((np.diff(means, 2) ** 2).mean()) / (6 * noise) if noise > 0 else None
