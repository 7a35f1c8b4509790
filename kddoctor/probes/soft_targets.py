"""How much the teacher's soft targets say, at each temperature."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.chunks import (
    IGNORED_LABEL,
    checked_class_count,
    checked_labels,
    checked_logits,
    require_finite,
)
from kddoctor.probes.entropy_sweep import EntropySweep
from kddoctor.probes.non_target_logits import NonTargetLogits
from kddoctor.probes.unit_histogram import UnitHistogram

#: 0.5 to 32 in steps of √2: every temperature's half is on the grid, which the sweep uses.
DEFAULT_TEMPERATURES = tuple(2.0 ** (step / 2) for step in range(-2, 11))

#: Above this many classes nothing of size C² is kept.
MAX_PATTERN_CLASSES = 2000

#: Rows whose [K, rows] entropies are held before they are summed by class.
SUMMED_ROWS = 4096


@dataclass(frozen=True)
class SoftTargets:
    """Soft-target statistics of one split: softmax(z / T) of the teacher's logits z.

    n: rows counted. temperatures: [K]. entropy: [K] mean entropy in nats. entropy_ratio_mean,
    entropy_ratio_median: [K] of H / ln C, in [0, 1]. top1_mean, top1_median: [K] of the largest
    probability. non_target_mass: [K] mean of 1 − largest probability. per_class_entropy: [C, K] mean entropy
    in nats of the rows whose largest logit is at that class, NaN where there is none; None above 2,000
    classes. Entropies are within 3e-6 nats of float64; medians come from a histogram of 2,048 bins.

    non_target_spread: mean over rows of the s.d. of the non-top logits over the distance of their mean from
    the top one; small where a teacher was trained with label smoothing. None for two classes.
    non_target_structure: share in [0, 1] of the variance of the non-top logits, centred per row, that the
    top class explains: whether classes have characteristic neighbours. None above 2,000 classes, for two
    classes, and while no class is the top of two rows. See ``NonTargetLogits`` for both.

    Sources: Hinton et al. 2015, section 2; Müller et al. 2019, section 2.
    """

    n: int
    temperatures: NDArray[np.float64]
    entropy: NDArray[np.float64]
    entropy_ratio_mean: NDArray[np.float64]
    entropy_ratio_median: NDArray[np.float64]
    top1_mean: NDArray[np.float64]
    top1_median: NDArray[np.float64]
    non_target_mass: NDArray[np.float64]
    per_class_entropy: NDArray[np.float64] | None
    non_target_spread: float | None
    non_target_structure: float | None


class SoftTargetsProbe:
    """Accumulates :class:`SoftTargets`; extra memory stays below 50 MB whatever the number of rows.

    temperatures: positive, in any order; a grid that holds halves of its members is the fastest.
    """

    def __init__(self, temperatures: Sequence[float], num_classes: int) -> None:
        self.num_classes = checked_class_count(num_classes)
        self.temperatures = tuple(float(temperature) for temperature in temperatures)
        if not self.temperatures or not all(0.0 < t < float("inf") for t in self.temperatures):
            raise ValueError(f"temperatures are {self.temperatures}; expected at least one, each positive")
        self._n = 0
        self._sweep = EntropySweep(self.temperatures, num_classes)
        self._ratio = [UnitHistogram() for _ in self.temperatures]
        self._top1 = [UnitHistogram() for _ in self.temperatures]
        by_class = num_classes <= MAX_PATTERN_CLASSES
        shape = (len(self.temperatures), num_classes)
        self._class_entropy = np.zeros(shape) if by_class else None
        self._class_rows = np.zeros(num_classes, dtype=np.int64)
        self._non_target = NonTargetLogits(num_classes, structured=by_class)

    def update(self, teacher_logits: NDArray[np.floating], labels: NDArray[np.integer] | None = None) -> None:
        """Count a chunk: teacher_logits [n, C]; labels [n], of which only -100, "skip this row", is used.

        Raises ValueError for other shapes, for labels out of range, and for NaN or infinite logits.
        """
        logits = checked_logits(teacher_logits, self.num_classes, "teacher_logits")
        kept = None
        if labels is not None:
            kept = checked_labels(labels, len(logits), self.num_classes) != IGNORED_LABEL
        for start in range(0, len(logits), SUMMED_ROWS):
            part = slice(start, start + SUMMED_ROWS)
            rows = np.arange(len(logits))[part] if kept is None else np.flatnonzero(kept[part]) + start
            if len(rows):
                self._count(logits, rows)

    def merge(self, other: "SoftTargetsProbe") -> None:
        """Add another worker's rows; both must have been made for the same temperatures and classes."""
        if (other.num_classes, other.temperatures) != (self.num_classes, self.temperatures):
            raise ValueError("cannot merge probes made for different temperatures or numbers of classes")
        self._n += other._n
        self._class_rows += other._class_rows
        self._non_target.merge(other._non_target)
        if self._class_entropy is not None and other._class_entropy is not None:
            self._class_entropy += other._class_entropy
        for mine, its in zip(self._ratio + self._top1, other._ratio + other._top1, strict=True):
            mine.merge(its)

    def compute(self) -> SoftTargets:
        """The measurements so far; ValueError where no row was counted."""
        if not self._n:
            raise ValueError("no row was counted; call update() with at least one")
        ratio = np.array([histogram.mean() for histogram in self._ratio])
        top1 = np.array([histogram.mean() for histogram in self._top1])
        return SoftTargets(
            n=self._n,
            temperatures=np.array(self.temperatures),
            entropy=ratio * np.log(self.num_classes),
            entropy_ratio_mean=ratio,
            entropy_ratio_median=np.array([histogram.median() for histogram in self._ratio]),
            top1_mean=top1,
            top1_median=np.array([histogram.median() for histogram in self._top1]),
            non_target_mass=1.0 - top1,
            per_class_entropy=self._mean_by_class(),
            non_target_spread=self._non_target.spread(),
            non_target_structure=self._non_target.structure(),
        )

    def _count(self, logits: NDArray[np.floating], rows: NDArray[np.int64]) -> None:
        entropy = np.empty((len(self.temperatures), len(rows)))
        top1 = np.empty_like(entropy)
        top = np.empty(len(rows), dtype=np.int64)
        contiguous = rows[-1] - rows[0] + 1 == len(rows)
        for start in range(0, len(rows), self._sweep.rows):
            part = slice(start, min(start + self._sweep.rows, len(rows)))
            # A slice reads the caller's array in place; an index would copy it.
            block = logits[rows[part][0] : rows[part][-1] + 1] if contiguous else logits[rows[part]]
            require_finite(block, "teacher_logits")
            top[part] = block.argmax(axis=1)
            self._non_target.update(self._sweep.load(block, top[part]), top[part])
            entropy[:, part], top1[:, part] = self._sweep.measure(len(block))
        entropy_ratio = entropy / np.log(self.num_classes)
        for index in range(len(self.temperatures)):
            self._ratio[index].update(entropy_ratio[index])
            self._top1[index].update(top1[index])
            if self._class_entropy is not None:
                self._class_entropy[index] += np.bincount(top, entropy[index], minlength=self.num_classes)
        self._class_rows += np.bincount(top, minlength=self.num_classes)
        self._n += len(rows)

    def _mean_by_class(self) -> NDArray[np.float64] | None:
        if self._class_entropy is None:
            return None
        rows = np.where(self._class_rows > 0, self._class_rows, np.nan)
        return (self._class_entropy / rows).T
