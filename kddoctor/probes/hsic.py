"""Unbiased HSIC between many layers, from centred features (Song et al. 2012, eq. 5).

With K = X Xᵀ and L = Y Yᵀ of centred features, and the squared row lengths r_i = K_ii and q_i = L_ii, row i of K
without its diagonal sums to −r_i. So the estimator needs the strict off-diagonal and the lengths only:
    n (n − 3) HSIC = Σ_{i≠j} K_ij L_ij − 2 r·q / (n − 2) + Σr Σq / ((n − 1)(n − 2))
Centring comes before anything is rounded to float32: the Gram matrix of features that stand ten standard
deviations from zero has no correct digits left.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Features = NDArray[np.floating]

#: The unbiased estimator is not defined for fewer rows.
MIN_ROWS = 4
#: Values whose squares, summed over a layer, float32 still holds.
LARGEST = 1e18

#: Entries of Gram matrices multiplied in float32 before the sum goes on in float64.
PIECE = 16_384

#: A layer whose s.d. is below this many roundings of its mean is constant as far as its type can tell.
CONSTANT_ROUNDINGS = 8.0


@dataclass(frozen=True)
class HsicTerms:
    """Unbiased HSIC of one set of rows. cross: [Lt, Ls]. teacher: [Lt], student: [Ls], each with itself."""

    cross: Array
    teacher: Array
    student: Array
    n: int


@dataclass(frozen=True)
class PairProducts:
    """Σ over entries of K·L for each pair of layers: cross [Lt, Ls], own [Lt + Ls] with itself."""

    cross: Array
    own: Array


def centred(features: Features, mean: Features, out: Single | None = None) -> Single:
    """features [n, d] − mean [d] in their own precision, rounded to float32 afterwards."""
    if out is None:
        out = np.empty(features.shape, dtype=np.float32)
    np.subtract(features, mean, out=out, casting="same_kind")
    return out


def mean_of_rows(features: Features) -> Features:
    """[d], in the precision of the features. One matrix-vector product: BLAS outruns ``mean(axis=0)``."""
    weights = np.full(len(features), 1.0 / len(features), dtype=features.dtype)
    return np.asarray(weights @ features)


def is_constant(squared_length: float, mean: Features) -> bool:
    """Whether centred rows of this mean squared length are what rounding leaves of equal rows."""
    rounding = CONSTANT_ROUNDINGS * float(np.finfo(mean.dtype).eps)
    return squared_length <= rounding**2 * float(np.dot(mean, mean))


def pair_products(grams: Single, teacher_layers: int) -> PairProducts:
    """Products of flattened Gram blocks, grams: [Lt + Ls, entries]."""
    layers, entries = grams.shape
    cross = np.zeros((teacher_layers, layers - teacher_layers))
    own = np.zeros(layers)
    for start in range(0, entries, PIECE):
        piece = grams[:, start : start + PIECE]
        cross += piece[:teacher_layers] @ piece[teacher_layers:].T
        own += np.matmul(piece[:, None, :], piece[:, :, None])[:, 0, 0]
    return PairProducts(cross, own)


def unbiased_terms(products: PairProducts, lengths: Array, scales: Array) -> HsicTerms:
    """HSIC from the off-diagonal products and the squared row lengths [Lt + Ls, n].

    Both were divided by ``scales`` [Lt + Ls], one per layer, which keeps tiny activations representable.
    """
    n = lengths.shape[1]
    layers = len(products.cross)
    totals = lengths.sum(axis=1)
    of_cross = products.cross - 2.0 / (n - 2) * (lengths[:layers] @ lengths[layers:].T)
    of_cross += np.outer(totals[:layers], totals[layers:]) / ((n - 1) * (n - 2))
    of_own = products.own - 2.0 / (n - 2) * (lengths**2).sum(axis=1) + totals**2 / ((n - 1) * (n - 2))
    of_cross *= np.outer(scales[:layers], scales[layers:]) / (n * (n - 3))
    of_own *= scales**2 / (n * (n - 3))
    return HsicTerms(of_cross, of_own[:layers], of_own[layers:], n)


def batch_terms(layers: Sequence[Features], teacher_layers: int, run: Callable[..., Iterable[Any]]) -> HsicTerms:
    """HSIC of all pairs on one minibatch; layers: [n, d] each, teacher's first. run: a ``map``."""
    n = len(layers[0])
    grams = np.empty((len(layers), n, n), dtype=np.float32)
    measured: list[tuple[Array, float]] = list(run(_scaled_gram, layers, grams))
    lengths = np.stack([length for length, _ in measured])
    scales = np.array([scale for _, scale in measured])
    return unbiased_terms(pair_products(grams.reshape(len(layers), -1), teacher_layers), lengths, scales)


def cka_of(terms: Sequence[HsicTerms]) -> Array:
    """[Lt, Ls]: ratio of HSICs summed over minibatches by their rows; 0 for a layer that does not vary."""
    cross = sum((term.n * term.cross for term in terms), start=np.zeros_like(terms[0].cross))
    teacher = sum((term.n * term.teacher for term in terms), start=np.zeros_like(terms[0].teacher))
    student = sum((term.n * term.student for term in terms), start=np.zeros_like(terms[0].student))
    return _ratio(cross, teacher, student)


def jackknife_error(terms: Sequence[HsicTerms]) -> Array | None:
    """[Lt, Ls]: standard error of :func:`cka_of` by leaving out one minibatch at a time (Efron 1982).

    None for fewer than two minibatches.
    """
    count = len(terms)
    if count < 2:
        return None
    cross = np.stack([term.n * term.cross for term in terms])
    teacher = np.stack([term.n * term.teacher for term in terms])
    student = np.stack([term.n * term.student for term in terms])
    without = _ratio(cross.sum(axis=0) - cross, teacher.sum(axis=0) - teacher, student.sum(axis=0) - student)
    deviations = without - without.mean(axis=0)
    return np.asarray(np.sqrt((count - 1) / count * (deviations**2).sum(axis=0)))


@contextmanager
def layer_map(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` over layers: the plain one, or one layer per thread with BLAS on a single thread each."""
    if workers == 1:
        yield map
        return
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        yield pool.map


def require_measurable(squared_length: float) -> None:
    """ValueError where features were not finite, or so large that their squares are not."""
    if not np.isfinite(squared_length):
        raise ValueError(f"a layer holds NaN, infinity, or values beyond {LARGEST:g}")


def _scaled_gram(features: Features, out: Single) -> tuple[Array, float]:
    """Fill ``out`` [n, n] with the off-diagonal Gram matrix over its scale; (lengths over scale, scale)."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean = mean_of_rows(features)
        rows = centred(features, mean)
        np.matmul(rows, rows.T, out=out)  # numpy takes the symmetric product here
        lengths = out.diagonal().astype(np.float64)
        scale = float(lengths.mean())
    require_measurable(scale)
    if scale == 0.0 or is_constant(scale, mean):
        out.fill(0.0)
        return np.zeros(len(features)), 1.0
    out *= np.float32(1.0 / scale)
    np.fill_diagonal(out, 0.0)
    return lengths / scale, scale


def _ratio(cross: Array, teacher: Array, student: Array) -> Array:
    """cross / √(teacher · student) over trailing layer axes; 0 where one of the two is not positive."""
    # Multiplying the roots, not rooting the product, which underflows for small activations.
    norm = np.sqrt(np.maximum(teacher, 0.0))[..., :, None] * np.sqrt(np.maximum(student, 0.0))[..., None, :]
    ratio = np.zeros_like(cross)
    np.divide(cross, norm, out=ratio, where=norm > 0.0)
    return ratio
