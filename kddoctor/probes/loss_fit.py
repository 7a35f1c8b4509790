"""Least squares for loss forensics: does a constant (or a fixed mix of terms) reproduce every recorded step?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A divergence near zero is a difference of two large numbers: below this share of them, float32 noise rules.
CANCELLATION = 3e-3
#: Size of a direction, relative to the largest one, below which terms are collinear.
RANK = 1e-10


@dataclass(frozen=True)
class ConstantFits:
    """recorded ≈ factor × value for many candidate forms. factors: [forms]; errors: [forms, steps]."""

    factors: Array
    errors: Array

    @property
    def worst(self) -> Array:
        """[forms] largest relative error over the steps."""
        return np.asarray(self.errors.max(axis=1))


def fit_constants(recorded: Array, values: Array, noise: Array) -> ConstantFits:
    """One constant for each form.

    recorded: [steps]. values: [forms, steps] sums over rows. noise: [forms, steps] size of the numbers
    whose difference the value is. Errors are relative to max(|value|, CANCELLATION × noise).
    """
    scale = np.maximum(np.abs(values), CANCELLATION * noise)
    scale = np.maximum(scale, 1e-300)
    x, y = values / scale, recorded / scale
    square = (x * x).sum(axis=1)
    factors = np.divide((x * y).sum(axis=1), square, out=np.zeros_like(square), where=square > 0)
    size = np.where(factors == 0, 1.0, np.abs(factors))[:, None]
    with np.errstate(over="ignore"):  # no fit at all, which infinity says
        errors = np.abs(y - factors[:, None] * x) / size
    errors[factors == 0] = np.inf
    return ConstantFits(factors, np.nan_to_num(errors, nan=np.inf, posinf=np.inf))


def errors_at(factor: float, recorded: Array, values: Array, noise: Array) -> Array:
    """[steps] relative errors of one form with a given constant."""
    scale = abs(factor) * np.maximum(np.maximum(np.abs(values), CANCELLATION * noise), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a factor of 0 fits nothing
        return np.nan_to_num(np.abs(recorded - factor * values) / scale, nan=np.inf, posinf=np.inf)


@dataclass(frozen=True)
class MixFit:
    """total ≈ Σ weight × term. ``weights`` by term name; errors: [steps] relative errors."""

    weights: dict[str, float]
    errors: Array

    @property
    def worst(self) -> float:
        """Largest relative error over the steps."""
        return float(self.errors.max()) if self.errors.size else float("inf")


def mix_errors(total: Array, terms: dict[str, Array], weights: dict[str, float]) -> Array:
    """[steps] |total − Σ w x| relative to the larger of |total| and Σ |w x|."""
    parts = [weights[name] * terms[name] for name in weights]
    predicted = np.sum(parts, axis=0) if parts else np.zeros_like(total)
    size = np.maximum(np.abs(total), np.sum(np.abs(parts), axis=0) if parts else 0.0)
    return np.asarray(np.abs(total - predicted) / np.maximum(size, 1e-12))


def fit_mix(total: Array, terms: dict[str, Array]) -> MixFit:
    """Free weights for the given terms by relative least squares; none fit where a value is not finite."""
    size = np.maximum(np.abs(total), 1e-12)
    design = np.stack([x / size for x in terms.values()], axis=1)
    if not (np.isfinite(design).all() and np.isfinite(total).all()):
        return MixFit(dict.fromkeys(terms, 0.0), np.full(len(total), np.inf))
    solution, _, rank, _ = np.linalg.lstsq(design, total / size, rcond=RANK)
    weights = dict(zip(terms, map(float, solution), strict=True))
    errors = mix_errors(total, terms, weights)
    if rank < len(terms):  # collinear terms: any mixture fits, so none is identified
        errors = np.full_like(errors, np.inf)
    return MixFit(weights, errors)


@dataclass(frozen=True)
class MixFits:
    """What ``fit_mix`` says of many candidates for one term. names: of the terms; weights: [forms, terms]; errors:
    [forms, steps].
    """

    names: tuple[str, ...]
    weights: Array
    errors: Array

    @property
    def worst(self) -> Array:
        """[forms] largest relative error over the steps."""
        return np.asarray(self.errors.max(axis=1))

    def of(self, index: int) -> MixFit:
        """The fit of one candidate."""
        return MixFit(dict(zip(self.names, map(float, self.weights[index]), strict=True)), self.errors[index])


def fit_mixes(total: Array, name: str, values: Array, shared: dict[str, Array]) -> MixFits:
    """``fit_mix`` with each of values [forms, steps] as the term of that name, beside the shared terms, all at once."""
    # A step whose total is no number has no size, and no fit: below, none is kept.
    size = np.where(np.isfinite(total), np.maximum(np.abs(total), 1e-12), 1.0)
    beside = [np.broadcast_to(x, values.shape) for x in shared.values()]
    terms = np.stack([values, *beside], axis=2)
    finite = np.asarray(np.isfinite(terms).all(axis=(1, 2)) & np.isfinite(total).all())
    terms = np.where(finite[:, None, None], terms, 0.0)
    with np.errstate(invalid="ignore"):
        u, sizes, v = np.linalg.svd(terms / size[:, None], full_matrices=False)
        kept = sizes > RANK * sizes[:, :1]
        along = np.einsum("fsk,s->fk", u, np.nan_to_num(total / size))
        weights = np.einsum("fk,fkt->ft", np.where(kept, along / np.where(kept, sizes, 1.0), 0.0), v)
        parts = weights[:, None, :] * terms
        largest = np.maximum(np.abs(total), np.abs(parts).sum(axis=2))
        errors = np.abs(total - parts.sum(axis=2)) / np.maximum(largest, 1e-12)
    errors[~finite | ~kept.all(axis=1)] = np.inf
    return MixFits((name, *shared), weights, errors)


def smooth_schedule(weights: Array) -> bool:
    """Whether per-step weights move steadily: inside [0, 1] and in one direction, as an annealed weight does."""
    if len(weights) < 5 or not np.isfinite(weights).all():
        return False
    inside = weights.min() > -1e-3 and weights.max() < 1 + 1e-3
    travel = np.abs(np.diff(weights)).sum()
    return bool(inside and travel > 1e-2 and abs(weights[-1] - weights[0]) > 0.9 * travel)
