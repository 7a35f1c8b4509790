"""How far rows lie from their nearest neighbours, so that a copy that was altered a little stays near its original."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Rows = NDArray[np.generic]
Numbers = NDArray[np.float64]

#: Numbers that a row is projected to, and rows that are compared with all others at a time.
PROJECTED, BLOCK = 128, 256
#: Table of directions for discrete inputs: values that fall together under this modulus count as the same.
TOKENS = 1 << 15
#: Length of the side to which pictures are reduced, the shortest one that makes a picture, and channels of one.
SIDE, SHORTEST, CHANNELS = 16, 8, (1, 3, 4)
#: Pictures of each split: each is compared in as many variants as ``_variants`` gives.
MOST_PICTURES = 1000
#: Contrast below which a picture is flat, as a share of the usual one: what is left of it is noise.
FLAT = 0.25
#: Tokens in a row that are looked at together (Broder 1997: shingles), different ones in a row that make it a text, and
#: buckets that they are counted in.
SHINGLE, WORDS, BUCKETS = 3, 8, 1 << 20


#: A copy is closer to its original than this share of the distance from there to the next training row.
ALONE = 0.5


@dataclass(frozen=True)
class Nearest:
    """Distances of likely copies over the usual one, which is the median from a training row to its nearest other one.

    train: [n] from a training row to the nearest other one; across: [m] from a held-out row to the nearest training
    row. inf where that row has others about as close by (``ALONE``): where rows crowd, to be close is to be no copy.
    originals: [m] the first of these for the nearest training row of each held-out row, which says what is usual there.
    """

    train: Numbers
    across: Numbers
    originals: Numbers


PARTS = ("train", "across", "originals")


def nearest_rows(train: Rows, held_out: Rows) -> Nearest | None:
    """Neighbours of inputs [n, …] and [m, …]. None for fewer than three different training rows, or none held out.

    Pictures are compared by what is left when brightness and contrast are taken away, mirrored or not and shifted by up
    to a pixel of their thumbnail, as perceptual hashes do; numbers by distance after a random projection (Johnson
    and Lindenstrauss 1984); discrete values by which of them a row holds, wherever they stand; and texts by their
    shingles as well, whatever stands before and after, for which MinHash would be an estimate (Broder 1997). A row is
    as near as the nearest of these says.
    """
    own = _different(train)
    if len(own) < 3 or not len(held_out):
        return None
    found = [each for each in _by_each(own, held_out) if each is not None]
    if not found:
        return None
    return Nearest(*(np.minimum.reduce([getattr(each, part) for each in found]) for part in PARTS))


def _different(rows: Rows) -> Rows:
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    _, first = np.unique(flat, axis=0, return_index=True)
    return rows[np.sort(first)]


def _by_each(own: Rows, others: Rows) -> Iterator[Nearest | None]:
    pictures = [_thumbnails(part[:MOST_PICTURES]) for part in (own, others)]
    if pictures[0] is not None and pictures[1] is not None:
        yield _of_pictures(pictures[0], pictures[1])
        return
    yield _of_numbers(projected(own), projected(others))
    if own.dtype.kind != "f" and _are_texts(own):
        yield _of_texts(own.reshape(len(own), -1), others.reshape(len(others), -1))


@dataclass(frozen=True)
class _Found:
    """Of training rows [n]: distances to the nearest two others, and which is the first. Of held-out rows [m]: distance
    to the nearest training row, and which.
    """

    first: Numbers
    second: Numbers
    neighbour: NDArray[np.int64]
    across: Numbers
    original: NDArray[np.int64]


def _alone(found: _Found) -> Nearest | None:
    usual = float(np.median(found.first))
    if usual <= 0:
        return None
    back = found.neighbour[found.neighbour] == np.arange(len(found.first))
    beyond = np.where(back, found.second[found.neighbour], found.first[found.neighbour])
    train = np.where(found.first < ALONE * beyond, found.first, np.inf)
    across = np.where(found.across < ALONE * found.first[found.original], found.across, np.inf)
    return Nearest(train / usual, across / usual, train[found.original] / usual)


# Numbers --------------------------------------------------------------------------------------------------


def projected(inputs: Rows) -> Numbers:
    """[n, d] of inputs [n, …]: numbers as they are, or projected where they are many; discrete values as a sum of
    random directions, one a value.
    """
    rows = inputs.reshape(len(inputs), -1)
    rng = np.random.default_rng(0)
    if rows.dtype.kind != "f":
        directions = rng.normal(size=(TOKENS, PROJECTED)) / np.sqrt(PROJECTED)
        values = rows.astype(np.int64) % TOKENS
        return np.stack([directions[row].sum(axis=0) for row in values]) if len(rows) else np.zeros((0, PROJECTED))
    numbers = np.nan_to_num(rows.astype(np.float64))
    if rows.shape[1] <= PROJECTED:
        return numbers
    return np.asarray(numbers @ (rng.normal(size=(rows.shape[1], PROJECTED)) / np.sqrt(PROJECTED)))


def _of_numbers(own: Numbers, others: Numbers) -> Nearest | None:
    sizes = (own**2).sum(axis=1)

    def distances(block: Numbers) -> Numbers:
        squares = (block**2).sum(axis=1)[:, None] - 2 * block @ own.T + sizes
        return np.asarray(np.sqrt(np.maximum(squares, 0)))

    return _alone(_searched(distances, own, others))


def _searched(distances: Callable[[Any], Numbers], own: Any, others: Any) -> _Found:
    """distances: [b, n] from rows of a block to each training row."""
    first, second, neighbour = [], [], []
    for start in range(0, own.shape[0], BLOCK):
        found = distances(own[start : start + BLOCK])
        found[np.arange(len(found)), start + np.arange(len(found))] = np.inf
        two = np.argpartition(found, 1, axis=1)[:, :2]
        pair = np.take_along_axis(found, two, axis=1)
        closer = pair.argmin(axis=1)
        rows = np.arange(len(found))
        first.append(pair[rows, closer])
        second.append(pair[rows, 1 - closer])
        neighbour.append(two[rows, closer])
    across, original = [], []
    for start in range(0, others.shape[0], BLOCK):
        found = distances(others[start : start + BLOCK])
        original.append(found.argmin(axis=1))
        across.append(found.min(axis=1))
    return _Found(*map(np.concatenate, (first, second, neighbour, across, original)))


def nearest(rows: Numbers, among: Numbers, *, but_itself: bool = False) -> Numbers:
    """[n] Euclidean distance from each row to the nearest of the others, [m, d]."""
    sizes = (among**2).sum(axis=1)
    found = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        squares = (block**2).sum(axis=1)[:, None] - 2 * block @ among.T + sizes
        if but_itself:
            squares[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        found[start : start + BLOCK] = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return found


# Pictures -------------------------------------------------------------------------------------------------


def _thumbnails(rows: Rows) -> NDArray[np.float32] | None:
    """[n, h, w] grey pictures of at most ``SIDE`` pixels a side; None for what has not the shape of pictures."""
    if rows.dtype.kind != "f" and rows.dtype != np.uint8:
        return None  # a table of token numbers may have any shape
    grey = np.nan_to_num(rows.astype(np.float32))
    if grey.ndim == 4 and grey.shape[1] in CHANNELS:
        grey = grey.mean(axis=1)
    elif grey.ndim == 4 and grey.shape[3] in CHANNELS:
        grey = grey.mean(axis=3)
    if grey.ndim != 3 or min(grey.shape[1:]) < SHORTEST:
        return None
    down, right = (_reducing(length) for length in grey.shape[1:])
    return np.asarray(down @ grey @ right.T)


def _reducing(length: int) -> NDArray[np.float32]:
    """[SIDE, length] means over equal parts of a side; the identity for short ones."""
    if length <= SIDE:
        return np.eye(length, dtype=np.float32)
    edges = np.linspace(0, length, SIDE + 1)
    pixels = np.arange(length)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(covered, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _of_pictures(own: NDArray[np.float32], others: NDArray[np.float32]) -> Nearest | None:
    """Distances of directions, √(2 − 2 r) for pictures of correlation r."""
    contrast = [part.std(axis=(1, 2)) for part in (own, others)]
    flat = FLAT * float(np.median(contrast[0]))
    own, others = (part[each > flat] for part, each in zip((own, others), contrast, strict=True))
    if len(own) < 3 or not len(others):
        return None
    turned = _directions(own).T

    def distances(block: NDArray[np.float32]) -> Numbers:
        r = np.maximum.reduce([_directions(variant) @ turned for variant in _variants(block)])
        return np.asarray(np.sqrt(np.maximum(2 - 2 * r, 0)), np.float64)

    return _alone(_searched(distances, own, others))


def _variants(pictures: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Shifted by up to a pixel each way, mirrored and not."""
    height, width = pictures.shape[1:]
    framed = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    for down in range(3):
        for right in range(3):
            shifted = framed[:, down : down + height, right : right + width]
            yield shifted
            yield shifted[:, :, ::-1]


def _directions(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


# Texts ----------------------------------------------------------------------------------------------------


def _are_texts(rows: Rows) -> bool:
    flat = np.sort(rows.reshape(len(rows), -1)[:64], axis=1)
    return bool(np.median((np.diff(flat, axis=1) != 0).sum(axis=1) + 1) >= WORDS)


def _of_texts(own: Rows, others: Rows) -> Nearest | None:
    counted = [_shingles(part) for part in (own, others)]
    rows = len(own) + len(others)
    in_rows = sum(np.bincount(part.indices, minlength=BUCKETS) for part in counted)
    # What stands in every row, such as a template or padding, says nothing about any.
    telling = np.log(rows / np.maximum(in_rows, 1))
    ours, theirs = (_unit_length(part, telling) for part in counted)
    turned = ours.T.tocsr()

    def distances(block: csr_array) -> Numbers:
        return np.asarray(np.sqrt(np.maximum(2 - 2 * (block @ turned).toarray(), 0)))

    return _alone(_searched(distances, ours, theirs))


def _shingles(tokens: Rows) -> csr_array:
    """[n, BUCKETS] how often each three tokens in a row occur in each row."""
    values = tokens.astype(np.int64)
    width = max(1, values.shape[1] - SHINGLE + 1)
    hashed = np.zeros((len(values), width), np.uint64)
    for at in range(min(SHINGLE, values.shape[1])):
        part = values[:, at : at + width].astype(np.uint64)
        hashed = (hashed + part + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(29)
    columns = (hashed % np.uint64(BUCKETS)).astype(np.int64).ravel()
    starts = np.arange(0, columns.size + 1, width)
    counted = csr_array((np.ones(columns.size), columns, starts), shape=(len(values), BUCKETS))
    counted.sum_duplicates()
    return counted


def _unit_length(counted: csr_array, telling: Numbers) -> csr_array:
    weighted = np.minimum(counted.data, 1) * telling[counted.indices]
    rows = np.repeat(np.arange(counted.shape[0]), np.diff(counted.indptr))
    lengths = np.sqrt(np.bincount(rows, weighted**2, minlength=counted.shape[0]))
    return csr_array(
        (weighted / np.maximum(lengths, 1e-12)[rows], counted.indices, counted.indptr), shape=counted.shape
    )
