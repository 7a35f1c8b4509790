"""Unbiased HSIC of whole data sets: tiles of the Gram matrices, or products of features, whichever is less.

Products are in float32 over tiles, sums across tiles in float64. Neither side ever holds a matrix of all rows
by all rows, nor a centred copy of all features.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kddoctor.probes.hsic import (
    Array,
    Features,
    HsicTerms,
    PairProducts,
    Single,
    centred,
    is_constant,
    pair_products,
    require_measurable,
    unbiased_terms,
)

#: Rows of one Gram tile: 1 MiB of float32 per layer.
TILE = 512

#: Rows of features multiplied in float32 before the sum goes on in float64.
FEATURE_ROWS = 2048

#: Entries of feature-by-feature products held at a time (96 MiB in float64, half of that in float32).
PRODUCT_ENTRIES = 12_582_912

Run = Callable[..., Iterable[Any]]


@dataclass(frozen=True)
class _Layer:
    """Features [n, d] with what centring needs. lengths: [n] squared row lengths over scale; scale: mean."""

    features: Features
    mean: Features
    lengths: Array
    scale: float

    def rows(self, start: int, stop: int) -> Single:
        return centred(self.features[start:stop], self.mean)


def exact_terms(layers: Sequence[Features], teacher_layers: int, run: Run) -> HsicTerms:
    """HSIC of all pairs over all rows; layers: [n, d] each, teacher's first. run: a ``map``."""
    measured: list[_Layer] = list(run(_measure, layers))
    side = _feature_side if _features_are_cheaper(layers, teacher_layers) else _gram_side
    products = side(measured, teacher_layers, run)
    lengths = np.stack([layer.lengths for layer in measured])
    return unbiased_terms(products, lengths, np.array([layer.scale for layer in measured]))


def _features_are_cheaper(layers: Sequence[Features], teacher_layers: int) -> bool:
    """Compare multiplications: symmetric products count half."""
    widths = [layer.shape[1] for layer in layers]
    teacher, student = sum(widths[:teacher_layers]), sum(widths[teacher_layers:])
    of_features = teacher * student + sum(width * width for width in widths) / 2
    return bool(of_features < len(layers[0]) * (teacher + student) / 2)


def _measure(features: Features) -> _Layer:
    with np.errstate(invalid="ignore", over="ignore"):
        mean = features.mean(axis=0, dtype=np.float64).astype(features.dtype)
        lengths = np.empty(len(features))
        for start in range(0, len(features), TILE):
            rows = centred(features[start : start + TILE], mean)
            lengths[start : start + TILE] = np.einsum("ij,ij->i", rows, rows)
        scale = float(lengths.mean())
    require_measurable(scale)
    if scale == 0.0 or is_constant(scale, mean):
        # A column of zeros behaves like any other layer, and has no covariance with anything.
        nothing = np.zeros((len(features), 1), dtype=np.float32)
        return _Layer(nothing, nothing[0], np.zeros(len(features)), 1.0)
    return _Layer(features, mean, lengths / scale, scale)


def _gram_side(layers: Sequence[_Layer], teacher_layers: int, run: Run) -> PairProducts:
    n = len(layers[0].lengths)
    count = len(layers)
    cross, own = np.zeros((teacher_layers, count - teacher_layers)), np.zeros(count)
    buffer = np.empty(count * TILE * TILE, dtype=np.float32)
    for top in range(0, n, TILE):
        below = min(top + TILE, n)
        upper = list(run(partial(_Layer.rows, start=top, stop=below), layers))
        for left in range(top, n, TILE):
            right = min(left + TILE, n)
            size = (below - top) * (right - left)
            tiles = buffer[: count * size].reshape(count, below - top, right - left)
            list(run(partial(_fill_tile, start=left, stop=right, diagonal=left == top), layers, upper, tiles))
            part = pair_products(tiles.reshape(count, size), teacher_layers)
            times = 1.0 if left == top else 2.0
            cross += times * part.cross
            own += times * part.own
    return PairProducts(cross, own)


def _fill_tile(layer: _Layer, rows: Single, out: Single, *, start: int, stop: int, diagonal: bool) -> None:
    """Fill ``out`` with rows times the layer's rows start to stop, over scale; a diagonal is left out."""
    np.matmul(rows, rows.T if diagonal else layer.rows(start, stop).T, out=out)
    out *= np.float32(1.0 / layer.scale)
    if diagonal:
        np.fill_diagonal(out, 0.0)


def _feature_side(layers: Sequence[_Layer], teacher_layers: int, run: Run) -> PairProducts:
    """Σ_ij K_ij L_ij = |XᵀY|², from which the diagonal Σ r q is taken off."""
    teacher, student = layers[:teacher_layers], layers[teacher_layers:]
    lengths = np.stack([layer.lengths for layer in layers])
    cross = np.array(list(run(partial(_energies, partners=student), teacher)))
    own = np.array(list(run(lambda layer: _energies(layer, [layer])[0], layers)))
    cross -= lengths[:teacher_layers] @ lengths[teacher_layers:].T
    own -= (lengths**2).sum(axis=1)
    return PairProducts(cross, own)


def _energies(layer: _Layer, partners: Sequence[_Layer]) -> Array:
    """|XᵀY|² of one layer with each partner over both scales, [partners]."""
    n, width = layer.features.shape
    widths = [partner.features.shape[1] for partner in partners]
    block = max(1, min(width, PRODUCT_ENTRIES // sum(widths)))
    energies = np.zeros(len(partners))
    for first in range(0, width, block):
        columns = slice(first, min(first + block, width))
        sums = [np.zeros((columns.stop - first, other)) for other in widths]
        for start in range(0, n, FEATURE_ROWS):
            stop = min(start + FEATURE_ROWS, n)
            whole = layer.rows(start, stop)
            rows = whole[:, columns]
            for index, partner in enumerate(partners):
                other = rows if partner is layer and block == width else partner.rows(start, stop)
                sums[index] += rows.T @ other
        energies += [float(np.vdot(total, total)) for total in sums]
    return energies / (layer.scale * np.array([partner.scale for partner in partners]))
