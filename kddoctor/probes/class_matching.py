"""Which label class each predicted class stands for, read from a confusion matrix."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Counts = NDArray[np.int64]


def best_matching(confusion: Counts) -> NDArray[np.int64]:
    """The one-to-one map from predicted to label class that makes most rows right (Kuhn 1955).

    confusion: [C, C], row predicted, column label. Returns [C]. Among equally good maps, one with the most
    classes left in place is returned, so that a class about which nothing is known maps to itself.
    """
    classes = len(confusion)
    # All C bonuses for staying together weigh less than one row.
    value = confusion * (classes + 1) + np.eye(classes, dtype=np.int64)
    return np.asarray(linear_sum_assignment(value, maximize=True)[1], dtype=np.int64)


def matched_accuracy(confusion: Counts, matching: NDArray[np.int64]) -> float:
    """Share of rows that are right once predicted class c is read as ``matching[c]``."""
    return float(confusion[np.arange(len(confusion)), matching].sum() / confusion.sum())


def concentration(confusion: Counts) -> float:
    """Mean, over predicted classes that occur, of the largest share that one label class has among them."""
    predicted = confusion.sum(axis=1)
    occurs = predicted > 0
    return float((confusion[occurs].max(axis=1) / predicted[occurs]).mean())


@dataclass(frozen=True)
class HalvesMatched:
    """Two halves of the rows, each with its best matching.

    stability: share of label classes whose predicted class is the same in both, weighted by label frequency. accuracy:
    once predicted classes are read as the *other* half has them, so that no gain by chance is in it.
    """

    stability: float
    accuracy: float


def match_halves(halves: Counts) -> HalvesMatched | None:
    """halves: [2, C, C], confusion matrices of two halves of the rows. None where a half is empty."""
    if not halves.any(axis=(1, 2)).all():
        return None
    first, second = (best_matching(half) for half in halves)
    frequency = halves.sum(axis=(0, 1))
    # argsort of a permutation is its inverse: the predicted class that stands for each label class.
    same = np.argsort(first) == np.argsort(second)
    classes = np.arange(len(first))
    right = halves[0][classes, second].sum() + halves[1][classes, first].sum()
    return HalvesMatched(float(frequency[same].sum() / frequency.sum()), float(right / frequency.sum()))
