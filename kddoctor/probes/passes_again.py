"""Whether a row that comes by again has the target that it had before, and the teacher's own answer of before."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from kddoctor.probes.row_pairing import SAME_OUTPUT

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

#: Rows that are compared, classes of a projection that no match is lost in, and neighbours that are looked at: a row
#: may have equals in its own step as well.
MOST_ROWS, MOST_CLASSES, NEIGHBOURS = 4000, 8, 8
#: Fewest rows that come again before anything is said, and classes: single numbers meet by accident.
FEWEST_AGAIN, FEWEST_CLASSES = 32, 2
#: Share of those of the one that come again in the other, from which they do so too, and up to which they do not.
ALSO, HARDLY = 0.5, 0.1


@dataclass(frozen=True)
class PassesAgain:
    """rows: compared. targets, own: how many of the loss's targets, and of the teacher's answers in a second pass to
    the same rows, are found in another recorded step. worse: rows of which the second pass is right and the target is
    not; better: the other way round. surer: mean of what the targets' largest probability exceeds the other's by.
    skewed: distance of the histograms of predicted classes from the labels', the targets' less the other's.
    """

    rows: int
    targets: int
    own: int
    worse: int
    better: int
    surer: float
    skewed: float

    @property
    def targets_stay(self) -> bool:
        """A row's target is the same each time."""
        return self._stays(self.targets)

    @property
    def own_stays(self) -> bool:
        """The teacher's own answer to a row is the same each time: its inputs are no random views."""
        return self._stays(self.own)

    @property
    def targets_move(self) -> bool:
        """Rows come again, and their targets are other ones."""
        return self.own >= FEWEST_AGAIN and self.targets <= HARDLY * self.own

    @property
    def own_moves(self) -> bool:
        """Rows come again, and the teacher's own answers to them are other ones: random views."""
        return self.targets >= FEWEST_AGAIN and self.own <= HARDLY * self.targets

    def _stays(self, found: int) -> bool:
        return found >= FEWEST_AGAIN and found >= ALSO * max(self.targets, self.own)


def passes_again(steps: Sequence[tuple[Floats, Floats, Ints]]) -> PassesAgain | None:
    """Of (targets [n, C], own [n, C], labels [n]) by step; None for fewer than two steps, or for single numbers."""
    if len(steps) < 2 or steps[0][0].shape[1] <= FEWEST_CLASSES:
        return None
    kept = max(2, MOST_ROWS // max(1, len(steps[0][2])))
    steps = steps[:: -(-len(steps) // kept)]
    targets, own = (np.concatenate([np.asarray(step[n], np.float64) for step in steps]) for n in (0, 1))
    labels = np.concatenate([step[2] for step in steps])
    number = np.repeat(np.arange(len(steps)), [len(step[2]) for step in steps])
    right, known = targets.argmax(1) == labels, own.argmax(1) == labels
    classes = targets.shape[1]
    chosen = (labels.clip(0, classes - 1), targets.argmax(1), own.argmax(1))
    shares = [np.bincount(classes_of, minlength=classes) / len(labels) for classes_of in chosen]
    return PassesAgain(
        rows=len(labels),
        targets=_again(targets, number),
        own=_again(own, number),
        worse=int((known & ~right).sum()),
        better=int((right & ~known).sum()),
        surer=float((_largest(targets) - _largest(own)).mean()),
        skewed=float(np.abs(shares[1] - shares[0]).sum() - np.abs(shares[2] - shares[0]).sum()),
    )


def _again(outputs: NDArray[np.float64], number: Ints) -> int:
    """Rows whose output is found in a step of another number, up to rounding."""
    rows = outputs - outputs.mean(1, keepdims=True)
    limit = SAME_OUTPUT * float(rows.std()) * np.sqrt(rows.shape[1])
    some = rows[:, :MOST_CLASSES]
    near = np.atleast_2d(cKDTree(some).query(some, k=min(NEIGHBOURS, len(rows)))[1])
    found = np.zeros(len(rows), dtype=bool)
    for place in near.T:
        found |= (number[place] != number) & (np.linalg.norm(rows - rows[place], axis=1) <= limit)
    return int(found.sum())


def _largest(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1))
