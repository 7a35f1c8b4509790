"""What the rules about data read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.class_recall import ClassRecall
from kddoctor.probes.label_doubt import LabelDoubt
from kddoctor.probes.row_overlap import NearCopies, NearOverlap, RowOverlap
from kddoctor.probes.two_samples import TwoSamples

Counts = NDArray[np.int64]
#: Share of the training rows that the floor of sureness leaves out.
LEAST_SURE = 0.05


@dataclass(frozen=True)
class SplitOverlap:
    """Rows that both splits hold. equal: by the hashes of all rows; near: among the rows whose inputs were recorded.

    copies: training rows that were made from each other, among the same rows.
    """

    equal: RowOverlap | None
    near: NearOverlap | None
    copies: NearCopies | None = None


@dataclass(frozen=True)
class SplitDifference:
    """How well the origin of a row can be told from its inputs, the teacher's activations, and the teacher's logits."""

    inputs: TwoSamples | None
    features: TwoSamples | None
    logits: TwoSamples | None

    @property
    def all(self) -> tuple[TwoSamples, ...]:
        """Those that were measured."""
        return tuple(found for found in (self.inputs, self.features, self.logits) if found is not None)


@dataclass(frozen=True)
class SplitSureness:
    """How sure the teacher is of each split, by how far its first choice is ahead of its second, in logits.

    floor: what all but ``LEAST_SURE`` of the training rows exceed. below: share of the held-out rows that do not. By
    chance this share is ``LEAST_SURE``, and where the teacher knows its training rows by heart, somewhat more.
    """

    floor: float
    below: float


@dataclass(frozen=True)
class ClassShares:
    """Label counts, all [C], of training rows, of the training steps' batches (None where not recorded), and of
    held-out rows. complete: whether every training row was counted. different: different training rows, as a share;
    those made from each other count once.
    """

    train: Counts
    steps: Counts | None
    held_out: Counts
    complete: bool
    different: float


@dataclass(frozen=True)
class ClassRecalls:
    """Who finds the rows of each class: on held-out and on training rows, and the teacher inside the loop."""

    held_out: ClassRecall
    train: ClassRecall | None
    in_loop_rows: Counts | None
    in_loop_teacher: Counts | None


@dataclass(frozen=True)
class LabelDoubts:
    """Doubts about the labels of each split; of training rows as late steps hold them where no split was recorded."""

    train: LabelDoubt | None
    held_out: LabelDoubt
