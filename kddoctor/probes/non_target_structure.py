"""What a teacher's logits say of the classes below the right one, on rows that it has right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.non_target_logits import NonTargetLogits
from kddoctor.probes.unit_histogram import UnitHistogram

Array = NDArray[np.float64]

#: Above this many classes nothing of size C² is kept.
MAX_PATTERN_CLASSES = 1000
#: Rows of a class from which its favourite second choice is read.
ENOUGH_ROWS = 5


@dataclass(frozen=True)
class NonTargetStructure:
    """Rows that the teacher has right, of ``rows`` in all; ``accuracy`` is their share.

    confidence: mean largest probability at T = 1; confidence_90: the value that nine in ten rows stay below.
    margin: mean distance, in nats, of the top logit from the mean of the others; others_sd: mean within-row s.d. of the
    others; relative_spread: mean of their ratio. structure: see ``NonTargetLogits``.

    second_share: mean over classes of the share of rows with the class's most frequent second choice. mutual: share of
    second choices that are returned, Σ min(M_ij, M_ji) / Σ M with M_ij the share of class i's rows whose second choice
    is j: 1 where similarity is mutual. distinct: different favourites over classes read. pattern_of_twin: correlation
    of the teacher's and the labels-only twin's mean logits by class, off the diagonal, rows and columns centred; None
    where not measured. followed: correlation of the teacher's other logits with the student's on held-out rows, less
    the mean of their row and of their class: 0 for what no input tells. Sources: Müller et al. 2019, section 2; Ma et
    al. 2021, section 3.
    """

    classes: int
    rows: int
    accuracy: float
    confidence: float
    confidence_90: float
    margin: float
    others_sd: float
    relative_spread: float
    structure: float | None
    second_share: float | None
    mutual: float | None
    distinct: float | None
    pattern_of_twin: float | None = None
    followed: float | None = None


class NonTargetStructureProbe:
    """Accumulates :class:`NonTargetStructure`; at least three classes."""

    def __init__(self, num_classes: int) -> None:
        self.classes = num_classes
        self._patterned = num_classes <= MAX_PATTERN_CLASSES
        self._others = NonTargetLogits(num_classes, structured=self._patterned)
        self._second = np.zeros((num_classes, num_classes)) if self._patterned else None
        self._confidence = UnitHistogram()
        self._rows = self._right = 0
        self._margin = self._sd = self._ratio = 0.0

    def update(self, teacher_logits: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """Count a chunk: finite logits [n, C] and labels [n] in [0, C)."""
        top = teacher_logits.argmax(axis=1)
        right = top == labels
        self._rows += len(labels)
        self._right += int(right.sum())
        if not right.any():
            return
        top = top[right]
        z = np.asarray(teacher_logits[right], np.float64)
        z -= np.take_along_axis(z, top[:, None], 1)
        self._others.update(z.astype(np.float32), top)
        confidence = 1 / np.exp(z).sum(axis=1)
        self._confidence.update(np.minimum(confidence, 1.0))
        others = self.classes - 1
        margin = -z.sum(axis=1) / others
        square = np.maximum(np.einsum("ij,ij->i", z, z) / others - margin**2, 0)
        sd = np.sqrt(square)
        self._margin += float(margin.sum())
        self._sd += float(sd.sum())
        self._ratio += float(np.divide(sd, margin, out=np.zeros_like(sd), where=margin > 0).sum())
        if self._second is not None:
            np.put_along_axis(z, top[:, None], -np.inf, 1)
            np.add.at(self._second, (top, z.argmax(axis=1)), 1)

    def merge(self, other: "NonTargetStructureProbe") -> None:
        """Add another worker's rows."""
        self._others.merge(other._others)
        self._confidence.merge(other._confidence)
        self._rows += other._rows
        self._right += other._right
        self._margin += other._margin
        self._sd += other._sd
        self._ratio += other._ratio
        if self._second is not None and other._second is not None:
            self._second += other._second

    def compute(self) -> NonTargetStructure | None:
        """The measurements so far; None where the teacher had no row right."""
        if not self._right:
            return None
        share, mutual, distinct = _second_choices(self._second)
        return NonTargetStructure(
            classes=self.classes,
            rows=self._rows,
            accuracy=self._right / self._rows,
            confidence=float(self._confidence.mean()),
            confidence_90=float(self._confidence.quantile(0.9)),
            margin=self._margin / self._right,
            others_sd=self._sd / self._right,
            relative_spread=self._ratio / self._right,
            structure=self._others.structure(),
            second_share=share,
            mutual=mutual,
            distinct=distinct,
        )


def _second_choices(counts: Array | None) -> tuple[float | None, float | None, float | None]:
    if counts is None:
        return None, None, None
    read = counts.sum(axis=1) >= ENOUGH_ROWS
    if read.sum() < 3:
        return None, None, None
    # Only classes that were read themselves could return a choice.
    shares = counts[read] / counts[read].sum(axis=1, keepdims=True)
    square = shares[:, read]
    total = float(square.sum())
    mutual = float(np.minimum(square, square.T).sum() / total) if total > 0 else None
    return float(shares.max(axis=1).mean()), mutual, len(set(shares.argmax(axis=1))) / int(read.sum())


class ClassPatterns:
    """Mean logits of two models by label, to be compared off the diagonal."""

    def __init__(self, num_classes: int) -> None:
        self._sums = np.zeros((2, num_classes, num_classes))
        self._rows = np.zeros(num_classes)

    def update(self, first: NDArray[np.floating], second: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """Count a chunk: logits [n, C] of both models and labels [n]."""
        for sums, logits in zip(self._sums, (first, second), strict=True):
            np.add.at(sums, labels, np.asarray(logits, np.float64))
        self._rows += np.bincount(labels, minlength=len(self._rows))

    def merge(self, other: "ClassPatterns") -> None:
        """Add another worker's rows."""
        self._sums += other._sums
        self._rows += other._rows

    def correlation(self) -> float | None:
        """Pearson's, off the diagonal, rows and columns centred; None below four classes with rows."""
        held = self._rows > 0
        if held.sum() < 4:
            return None
        first, second = (_centred((s / np.maximum(self._rows, 1)[:, None])[np.ix_(held, held)]) for s in self._sums)
        size = float(np.sqrt((first**2).sum() * (second**2).sum()))
        return float((first * second).sum() / size) if size > 0 else None


class RowPatterns:
    """Other logits of two models, row by row, on rows that the first has right."""

    def __init__(self, num_classes: int) -> None:
        self._sums = np.zeros((2, num_classes, num_classes))
        self._rows = np.zeros(num_classes)
        self._products = np.zeros(3)  # first with second, first with itself, second with itself

    def update(self, first: NDArray[np.floating], second: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """Count a chunk: logits [n, C] of both models and labels [n]."""
        right = first.argmax(axis=1) == labels
        one, other = (_others(np.asarray(z[right], np.float64), labels[right]) for z in (first, second))
        self._products += (one * other).sum(), (one**2).sum(), (other**2).sum()
        for sums, rows in zip(self._sums, (one, other), strict=True):
            np.add.at(sums, labels[right], rows)
        self._rows += np.bincount(labels[right], minlength=len(self._rows))

    def merge(self, other: "RowPatterns") -> None:
        """Add another worker's rows."""
        self._sums += other._sums
        self._rows += other._rows
        self._products += other._products

    def correlation(self) -> float | None:
        """Pearson's, of what is left of both without the mean of the class; None where nothing is."""
        a, b = self._sums / np.sqrt(np.maximum(self._rows, 1))[:, None]
        left = self._products - ((a * b).sum(), (a**2).sum(), (b**2).sum())
        size = float(np.sqrt(max(left[1], 0) * max(left[2], 0)))
        return float(left[0]) / size if size > 1e-12 * float(self._products[1:].max()) > 0 else None


def _others(z: Array, labels: NDArray[np.int64]) -> Array:
    """[n, C] logits without the mean of the other classes of their row; 0 at the label."""
    rows = np.arange(len(z))
    z = z - ((z.sum(axis=1) - z[rows, labels]) / (z.shape[1] - 1))[:, None]
    z[rows, labels] = 0.0
    return z


def _centred(pattern: Array) -> Array:
    """Off-diagonal entries without what their row and their column have in common; the diagonal is zero."""
    off = ~np.eye(len(pattern), dtype=bool)
    values = np.where(off, pattern, 0.0)
    others = len(pattern) - 1
    for _ in range(20):  # alternating projections: both constraints leave out the diagonal
        values = np.where(off, values - values.sum(axis=1, keepdims=True) / others, 0.0)
        values = np.where(off, values - values.sum(axis=0, keepdims=True) / others, 0.0)
    return np.asarray(values)
