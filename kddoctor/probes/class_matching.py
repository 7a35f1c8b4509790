"""Which label class each predicted class stands for, read from a confusion matrix."""

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


def matching_stability(halves: Counts) -> float | None:
    """Share of label classes whose predicted class is the same in both halves, weighted by label frequency.

    halves: [2, C, C], confusion matrices of two halves of the rows. None where a half is empty.
    """
    if not halves.any(axis=(1, 2)).all():
        return None
    # argsort of a permutation is its inverse: the predicted class that stands for each label class.
    first, second = (np.argsort(best_matching(half)) for half in halves)
    frequency = halves.sum(axis=(0, 1))
    return float(frequency[first == second].sum() / frequency.sum())


def accuracy_elsewhere(halves: Counts) -> float | None:
    """Accuracy once classes are read as the *other* half of the rows has them: no gain by chance is in it.

    halves: [2, C, C], confusion matrices of two halves of the rows. None where a half is empty.
    """
    if not halves.any(axis=(1, 2)).all():
        return None
    classes = np.arange(halves.shape[1])
    right = sum(
        int(half[classes, best_matching(other)].sum())
        for half, other in ((halves[0], halves[1]), (halves[1], halves[0]))
    )
    return float(right / halves.sum())
