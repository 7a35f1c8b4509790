"""Whether the teacher outputs that the loss used belong to the rows that they were paired with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

#: Rows are the same output when they differ by less than this share of the logits' standard deviation: half precision
#: leaves a thousandth. Ten times as much, and confident answers to other rows of the same class pass for the same.
SAME_OUTPUT = 0.002
#: The same for one logit a row, which many rows nearly share: what rounding of float32 leaves, and little more.
SAME_NUMBER = 2e-5


@dataclass(frozen=True)
class RowPairing:
    """Pairing of teacher outputs with rows.

    rows: compared rows. in_place: share whose output is the teacher's own output for that row (nan where the own
    outputs are not at hand). elsewhere: share whose output is found, but at another row. best_shift: the cyclic
    shift within a step's batch (or the split) under which the outputs fit the labels best; shift_accuracy there
    and plain_accuracy without. ``source``: where the outputs came from. one_batch_before: share of a split's rows whose
    output is the teacher's for the row as many places before it as a batch has.
    """

    rows: int
    in_place: float
    elsewhere: float
    best_shift: int
    plain_accuracy: float
    shift_accuracy: float
    source: str
    one_batch_before: float = 0.0


def share_before(used: Floats, own: Floats, places: int) -> float:
    """Share of the rows of ``used`` [N, C] that are ``own`` [N, C] of ``places`` rows before, and not of their own."""
    if not 0 < places < len(own):
        return 0.0
    a, b = _centred(used), _centred(own)
    limit = (SAME_OUTPUT if used.shape[1] > 1 else SAME_NUMBER) * (float(b.std()) or 1.0) * np.sqrt(b.shape[1])
    before = np.linalg.norm(a - np.roll(b, places, axis=0), axis=1) <= limit
    return float((before & (np.linalg.norm(a - b, axis=1) > limit)).mean())


def pair_outputs(used: Floats, own: Floats, labels: Ints | None = None) -> tuple[float, float]:
    """(share in place, share found at another row) of ``used`` [N, C] among the teacher's ``own`` [N, C].

    With one logit a row (C = 1), N numbers lie so close that some strays are found by chance; so many of those found
    are taken away as chance would give.

    labels [N], where the same example may stand in several rows (as in steps of several epochs, seen through random
    views): outputs of other examples are counted by those of another label, in proportion to how often other examples
    have one.

    The nearest own output is found with a k-d tree on a random projection to eight dimensions (distances only
    shrink under an orthonormal projection, so a match cannot be lost), then checked on all classes.
    """
    if used.shape[1] == 1:
        return _pair_numbers(np.asarray(used[:, 0], np.float64), np.asarray(own[:, 0], np.float64))
    a, b = _centred(used), _centred(own)
    scale = float(b.std()) or 1.0
    limit = SAME_OUTPUT * scale * np.sqrt(b.shape[1])
    in_place = np.linalg.norm(a - b, axis=1) <= limit
    strays = np.flatnonzero(~in_place)
    if not len(strays):
        return 1.0, 0.0
    from scipy.spatial import cKDTree

    if b.shape[1] > 8:
        basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((b.shape[1], 8)))
    else:
        basis = np.eye(b.shape[1])
    nearest = np.asarray(cKDTree(b @ basis).query(a[strays] @ basis, k=1)[1])
    found = np.linalg.norm(a[strays] - b[nearest], axis=1) <= limit
    if labels is None:
        return float(in_place.mean()), float(found.sum() / len(a))
    return float(in_place.mean()), _of_other_examples(labels, strays[found], nearest[found])


def _of_other_examples(labels: Ints, rows: Ints, found_at: Ints) -> float:
    _, counts = np.unique(labels, return_counts=True)
    differ = 1 - float(((counts / len(labels)) ** 2).sum())
    if differ <= 0:
        return len(rows) / len(labels)
    others = float((labels[rows] != labels[found_at]).sum()) / differ
    return min(others, float(len(rows))) / len(labels)


def _pair_numbers(used: NDArray[np.float64], own: NDArray[np.float64]) -> tuple[float, float]:
    limit = SAME_NUMBER * (float(own.std()) or 1.0)
    in_place = np.abs(used - own) <= limit
    strays = used[~in_place]
    if not len(strays) or len(own) < 2:
        return float(in_place.mean()), 0.0
    known = np.sort(own)

    def found(values: NDArray[np.float64]) -> float:
        after = np.clip(np.searchsorted(known, values), 1, len(known) - 1)
        return float((np.minimum(np.abs(values - known[after - 1]), np.abs(values - known[after])) <= limit).sum())

    # Numbers shifted by a hundred limits are as close to their neighbours as any, and equal to none.
    by_chance = (found(strays + 100 * limit) + found(strays - 100 * limit)) / 2
    return float(in_place.mean()), max(0.0, found(strays) - by_chance) / len(used)


def best_batch_shift(logits: Floats, labels: Ints, most: int = 8) -> tuple[int, float, float]:
    """(shift, accuracy without, accuracy with) of the cyclic shift that fits the labels best.

    logits: [K, B, C]. labels: [K, B]. Shifts up to ``most`` in both directions inside each batch, and over the
    rows of all recorded batches when these are consecutive.
    """
    predicted = logits.argmax(axis=-1)
    plain = float((predicted == labels).mean())
    best, best_accuracy = 0, plain
    for shift in (s for k in range(1, most + 1) for s in (k, -k)):
        if abs(shift) >= labels.shape[1]:
            continue
        accuracy = float((np.roll(predicted, shift, axis=1) == labels).mean())
        if accuracy > best_accuracy:
            best, best_accuracy = shift, accuracy
    return best, plain, best_accuracy


def _centred(z: Floats) -> NDArray[np.float64]:
    rows = np.asarray(z, np.float64)
    return np.asarray(rows - rows.mean(axis=1, keepdims=True))
