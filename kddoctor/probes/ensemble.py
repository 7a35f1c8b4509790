"""How the logits of several teachers were put together: three identities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnsembleMeans:
    """Largest relative error, over rows, of three ways to make one teacher of its members.

    mean_error, sum_error: of the logits' mean and sum, up to a constant in each row. probability_error: of the mean of
    the members' probabilities. divergence: mean KL(mean of probabilities ‖ teacher) in nats.
    """

    members: int
    rows: int
    mean_error: float
    sum_error: float
    probability_error: float
    divergence: float


def ensemble_means(members: NDArray[np.floating], teacher: NDArray[np.floating]) -> EnsembleMeans | None:
    """members: [M, n, C] logits; teacher: [n, C]. None for fewer than two members, or no row."""
    z, t = np.asarray(members, np.float64), np.asarray(teacher, np.float64)
    if len(z) < 2 or not len(t) or not (np.isfinite(z).all() and np.isfinite(t).all()):
        return None
    whole = _log_p(t)
    together = np.exp(_log_p(z)).mean(axis=0)
    return EnsembleMeans(
        members=len(z),
        rows=len(t),
        mean_error=_apart(z.mean(axis=0), t),
        sum_error=_apart(z.sum(axis=0), t),
        probability_error=float(np.abs(np.exp(whole) - together).max()),
        divergence=float((together * (np.log(np.maximum(together, 1e-300)) - whole)).sum(axis=1).mean()),
    )


def _apart(first: Array, second: Array) -> float:
    a, b = (z - z.mean(axis=1, keepdims=True) for z in (first, second))
    return float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-12))


def _log_p(z: Array) -> Array:
    shifted = z - z.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
