"""Whether a row's target is the same each time that the row comes by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from kddoctor.probes.row_pairing import SAME_OUTPUT

Floats = NDArray[np.floating]

#: Targets that are compared; more are thinned evenly. Classes of a projection that no match is lost in.
MOST_TARGETS, MOST_CLASSES = 4000, 8
#: Fewest targets, and classes: single numbers meet by accident.
FEWEST_TARGETS, FEWEST_CLASSES = 32, 2


@dataclass(frozen=True)
class TargetsAgain:
    """targets: of late steps, compared. found: share of them that is the first target of some row, up to rounding."""

    targets: int
    found: float


def targets_again(late: Floats, first: Floats) -> TargetsAgain | None:
    """Compare targets [n, C] of late steps with the first ones of all rows, [N, C]; None for too few of either."""
    if len(late) < FEWEST_TARGETS or len(first) < FEWEST_TARGETS or late.shape[1] <= FEWEST_CLASSES:
        return None
    late = np.asarray(late[:: -(-len(late) // MOST_TARGETS)], np.float64)
    first = np.asarray(first, np.float64)
    limit = SAME_OUTPUT * float((first - first.mean(1, keepdims=True)).std()) * np.sqrt(first.shape[1])
    nearest = cKDTree(first[:, :MOST_CLASSES]).query(late[:, :MOST_CLASSES], k=1)[1]
    found = np.linalg.norm(late - first[nearest], axis=1) <= limit
    return TargetsAgain(len(late), float(found.mean()))
