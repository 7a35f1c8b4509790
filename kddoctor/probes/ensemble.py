"""How the logits of several teachers were put together: identities, up to a constant in each row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Relative error of an identity in float32.
IDENTITY = 1e-5
#: Numbers for each weight that is fitted over all rows; numbers that a row must have beyond its weights.
ENOUGH, SPARE = 10, 2


@dataclass(frozen=True)
class EnsembleMeans:
    """Largest relative error, over rows, of the ways to make one teacher of its members.

    mean_error, sum_error: of the logits' mean and sum, up to a constant in each row. weighted_error: of a sum with one
    weight for each member, which covers members that are scaled first; row_error: with weights of its own for each row,
    None where there are too few classes to tell. chosen_error: of one member's logit for each class, such as the
    largest or the median. exponential_error: of the mean of their exponentials, none of which was divided by its own
    sum. between: share of the teacher's logits that lie between the members' own. mixed_error: of the members'
    probabilities with one weight for each, which is sound. probability_error: of the mean of the members'
    probabilities. divergence: mean KL(mean of probabilities ‖ teacher) in nats. least_accuracy: of the members, over
    that of the whole; None without labels.
    """

    members: int
    rows: int
    mean_error: float
    sum_error: float
    probability_error: float
    divergence: float
    weighted_error: float = float("inf")
    row_error: float | None = None
    chosen_error: float = float("inf")
    exponential_error: float = float("inf")
    between: float = 0.0
    mixed_error: float = float("inf")
    least_accuracy: float | None = None


def ensemble_means(
    members: NDArray[np.floating], teacher: NDArray[np.floating], labels: NDArray[np.integer] | None = None
) -> EnsembleMeans | None:
    """members: [M, n, C] logits; teacher: [n, C]; labels: [n]. None for fewer than two members, or no row."""
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
        weighted_error=_weighted(z, t),
        row_error=_weighted_by_row(z, t),
        # A median of an even number lies between two.
        chosen_error=min(_chosen(z, t), _apart(np.median(z, axis=0), t)),
        exponential_error=_apart(np.logaddexp.reduce(z, axis=0), t),
        between=_between(z, t),
        mixed_error=_weighted(np.exp(_log_p(z)), np.exp(whole)),
        least_accuracy=None if labels is None else _least(z, t, labels),
    )


def _centred(z: Array) -> Array:
    return np.asarray(z - z.mean(axis=-1, keepdims=True))


def _weighted(z: Array, t: Array) -> float:
    """Of Σ w_m z_m with the weights that fit best over all rows, none of them negative."""
    parts, whole = _centred(z).reshape(len(z), -1), _centred(t).reshape(-1)
    if parts.shape[1] < ENOUGH * len(z):
        return float("inf")
    weights, *_ = np.linalg.lstsq(parts.T, whole, rcond=1e-10)
    if weights.min() < 0:
        return float("inf")
    return float(np.abs(weights @ parts - whole).max() / max(float(np.abs(whole).max()), 1e-12))


def _weighted_by_row(z: Array, t: Array) -> float | None:
    """The same with weights of its own for each row; None where a row has no more numbers than there are weights."""
    if t.shape[1] - 1 < len(z) + SPARE:
        return None
    parts, whole = _centred(z).transpose(1, 2, 0), _centred(t)
    fitted = parts @ (np.linalg.pinv(parts) @ whole[:, :, None])
    return float(np.abs(fitted[:, :, 0] - whole).max() / max(float(np.abs(whole).max()), 1e-12))


def _chosen(z: Array, t: Array) -> float:
    return float(np.abs(z - t).min(axis=0).max() / max(float(np.abs(t).max()), 1e-12))


def _between(z: Array, t: Array) -> float:
    slack = IDENTITY * max(float(np.abs(t).max()), 1e-12)
    return float(((t >= z.min(axis=0) - slack) & (t <= z.max(axis=0) + slack)).mean())


def _least(z: Array, t: Array, labels: NDArray[np.integer]) -> float:
    right = float((t.argmax(axis=1) == labels).mean())
    return float((z.argmax(axis=2) == labels).mean(axis=1).min()) / max(right, 1e-12)


def _apart(first: Array, second: Array) -> float:
    a, b = (z - z.mean(axis=1, keepdims=True) for z in (first, second))
    return float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-12))


def _log_p(z: Array) -> Array:
    shifted = z - z.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
