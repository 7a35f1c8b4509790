"""Whether the teacher knows the task: its accuracy, calibration, and what its classes stand for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.chunks import (
    IGNORED_LABEL,
    checked_class_count,
    checked_labels,
    checked_logits,
    require_finite,
    row_slices,
)
from kddoctor.probes.class_matching import best_matching, concentration, match_halves, matched_accuracy
from kddoctor.probes.unit_histogram import UnitHistogram

#: Above this many classes the confusion matrix, of C² counts, is not kept.
MAX_CONFUSION_CLASSES = 2000
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class TeacherValidity:
    """The teacher's logits against the labels of one split; entropies and losses at T = 1, in nats.

    n: rows counted. num_classes: C. accuracy: share of rows whose largest logit is at the label. chance:
    Σ prior², the accuracy of a perfect teacher whose rows were paired with labels at random. majority: the
    largest prior. nll: mean cross-entropy with the labels. ece: expected calibration error over 15 bins of
    equal width in (0, 1] (Guo et al. 2017, eq. 3). label_prior, prediction_histogram: [C] frequencies;
    histogram_l1: their L1 distance, in [0, 2]. entropy_ratio_mean, entropy_ratio_median: H / ln C in [0, 1].
    top1_mean, top1_median: largest probability. Medians are read from a histogram of 2,048 bins.

    The rest is None above 2,000 classes. confusion: [C, C] counts, row predicted, column label.
    hungarian_permutation: [C], label class for which each teacher column stands best, one to one; a column
    stays where it is if nothing is gained by moving it. hungarian_accuracy: accuracy once columns are read
    so. matched_concentration: mean over predicted classes of the largest share of one label class among
    them. permutation_stability: share of classes, by label frequency, matched alike on even and on odd rows
    (None also for a single row). accuracy_elsewhere: as hungarian_accuracy, of even rows by the matching of odd ones
    and the other way round, which flatters nobody.

    mean_probability: [C] what each class gets at T = 1, on average over all rows.
    """

    n: int
    num_classes: int
    accuracy: float
    chance: float
    majority: float
    nll: float
    ece: float
    label_prior: NDArray[np.float64]
    prediction_histogram: NDArray[np.float64]
    histogram_l1: float
    entropy_ratio_mean: float
    entropy_ratio_median: float
    top1_mean: float
    top1_median: float
    hungarian_accuracy: float | None
    hungarian_permutation: NDArray[np.int64] | None
    matched_concentration: float | None
    permutation_stability: float | None
    confusion: NDArray[np.int64] | None
    accuracy_elsewhere: float | None = None
    mean_probability: NDArray[np.float64] | None = None


class TeacherValidityProbe:
    """Accumulates :class:`TeacherValidity`; memory does not depend on the number of rows.

    Rows labelled -100 are skipped; any other label outside [0, C), and NaN or infinite logits, raise
    ValueError.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = checked_class_count(num_classes)
        self._n = 0
        self._loss = 0.0
        self._labels = np.zeros(num_classes, dtype=np.int64)
        self._predictions = np.zeros(num_classes, dtype=np.int64)
        self._right = 0
        self._calibration = np.zeros(CALIBRATION_BINS)  # Σ (right − confidence) of each bin
        self._probability = np.zeros(num_classes)
        self._entropy = UnitHistogram()
        self._top1 = UnitHistogram()
        # Rows at even and at odd positions apart, so that two halves can be compared.
        square = (2, num_classes, num_classes)
        self._halves = np.zeros(square, dtype=np.int64) if num_classes <= MAX_CONFUSION_CLASSES else None

    def update(self, logits: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
        """Count a chunk: logits [n, C] of the teacher, labels [n]."""
        logits = checked_logits(logits, self.num_classes, "teacher_logits")
        labels = checked_labels(labels, len(logits), self.num_classes)
        for rows in row_slices(len(logits), self.num_classes):
            kept = labels[rows] != IGNORED_LABEL
            if kept.any():
                self._count(logits[rows][kept].astype(np.float64), labels[rows][kept])

    def merge(self, other: "TeacherValidityProbe") -> None:
        """Add another worker's rows, as if they came after the rows counted here."""
        if other.num_classes != self.num_classes:
            raise ValueError(f"cannot merge {other.num_classes} classes into {self.num_classes}")
        if self._halves is not None and other._halves is not None:
            # After an odd number of rows, the other's even rows stand at odd positions.
            self._halves += other._halves[::-1] if self._n % 2 else other._halves
        self._n += other._n
        self._loss += other._loss
        self._labels += other._labels
        self._predictions += other._predictions
        self._right += other._right
        self._calibration += other._calibration
        self._probability += other._probability
        self._entropy.merge(other._entropy)
        self._top1.merge(other._top1)

    def compute(self) -> TeacherValidity:
        """The measurements so far; ValueError where no row was counted."""
        if not self._n:
            raise ValueError("no labelled row was counted; call update() with at least one")
        prior = self._labels / self._n
        predicted = self._predictions / self._n
        confusion = None if self._halves is None else self._halves.sum(axis=0)
        matching = None if confusion is None else best_matching(confusion)
        halves = None if self._halves is None else match_halves(self._halves)
        rearranged = None if confusion is None or matching is None else matched_accuracy(confusion, matching)
        return TeacherValidity(
            n=self._n,
            num_classes=self.num_classes,
            accuracy=self._right / self._n,
            chance=float((prior**2).sum()),
            majority=float(prior.max()),
            nll=self._loss / self._n,
            ece=float(np.abs(self._calibration).sum() / self._n),
            label_prior=prior,
            prediction_histogram=predicted,
            histogram_l1=float(np.abs(prior - predicted).sum()),
            entropy_ratio_mean=self._entropy.mean(),
            entropy_ratio_median=self._entropy.median(),
            top1_mean=self._top1.mean(),
            top1_median=self._top1.median(),
            hungarian_accuracy=rearranged,
            hungarian_permutation=matching,
            matched_concentration=None if confusion is None else concentration(confusion),
            permutation_stability=None if halves is None else halves.stability,
            confusion=confusion,
            accuracy_elsewhere=None if halves is None else halves.accuracy,
            mean_probability=self._probability / self._n,
        )

    def _count(self, z: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        require_finite(z, "teacher_logits")
        rows = np.arange(len(z))
        predictions = z.argmax(axis=1)
        z -= z[rows, predictions][:, None]
        at_label = z[rows, labels]
        weight = np.exp(z)
        partition = weight.sum(axis=1)
        log_partition = np.log(partition)
        entropy = log_partition - np.einsum("ij,ij->i", weight, z) / partition
        confidence = 1.0 / partition
        right = predictions == labels

        self._loss += float((log_partition - at_label).sum())
        self._right += int(right.sum())
        self._labels += np.bincount(labels, minlength=self.num_classes)
        self._predictions += np.bincount(predictions, minlength=self.num_classes)
        bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
        self._calibration += np.bincount(bins, weights=right - confidence, minlength=CALIBRATION_BINS)
        self._probability += (1 / partition) @ weight
        self._entropy.update(entropy / np.log(self.num_classes))
        self._top1.update(confidence)
        if self._halves is not None:
            np.add.at(self._halves, ((self._n + rows) % 2, predictions, labels), 1)
        self._n += len(z)
