"""Where the student differs from the teacher, row by row, and whether it beats the baseline there."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.chunks import (
    IGNORED_LABEL,
    checked_class_count,
    checked_labels,
    checked_logits,
    row_slices,
)
from kddoctor.probes.gap_ranking import ExampleGap, GapRanking
from kddoctor.probes.row_outputs import RowOutputs, js_divergence, kl_divergence, read_outputs
from kddoctor.probes.running_mean import RunningMean

#: Above this many classes no accuracy per class is reported.
MAX_REPORTED_CLASSES = 2000

#: Rows times classes of one block. Three models' probabilities and their logarithms are held at a time.
BLOCK_ELEMENTS = 262_144

_MEANS = (
    "kl_teacher_student",
    "kl_student_teacher",
    "js",
    "kl_teacher_baseline",
    "kl_saved",
    "teacher_loss",
    "student_loss",
    "baseline_loss",
    "teacher_spread",
    "student_spread",
    "student_top1",
)


@dataclass(frozen=True)
class ExampleGaps:
    """Teacher, student and perhaps a baseline student on the same rows. Nats; None without a baseline.

    n: rows counted. temperature: T of the divergences, which are means over rows and not multiplied by T².
    agreement, baseline_agreement: share of rows with the teacher's top class (Stanton et al. 2021, "top-1
    agreement"). kl_teacher_student: KL(teacher ‖ student), as in Hinton et al. 2015; kl_student_teacher the
    reverse; js: Jensen-Shannon, at most ln 2. kl_max: largest KL(teacher ‖ student); kl_max_over_mean: that
    over the mean (None where the mean is zero). kl_teacher_baseline: KL(teacher ‖ baseline). kl_saved: mean
    of KL(teacher ‖ baseline) − KL(teacher ‖ student), paired by row; kl_ratio_to_baseline: ratio of the two
    means (None where the baseline's is zero). *_standard_error: of the mean, None for one row.

    teacher_loss, student_loss, baseline_loss: mean cross-entropy with the labels at T = 1. both_right,
    only_teacher, only_student, neither: rows by who is right, summing to n. student_only_right,
    baseline_only_right: discordant rows of student and baseline (McNemar's test). class_counts: [C] rows of
    each label; teacher_class_accuracy, student_class_accuracy: [C], NaN for a class without rows; all three
    None above 2,000 classes. student_top1_mean: mean largest probability at T = 1. logit_scale_ratio: mean
    within-row s.d. of the student's logits over the teacher's; None where the teacher's logits are constant.
    worst: the rows of the largest kl, largest first, then by index.
    """

    n: int
    temperature: float
    teacher_accuracy: float
    student_accuracy: float
    baseline_accuracy: float | None
    agreement: float
    baseline_agreement: float | None
    kl_teacher_student: float
    kl_teacher_student_standard_error: float | None
    kl_student_teacher: float
    kl_student_teacher_standard_error: float | None
    js: float
    js_standard_error: float | None
    kl_max: float
    kl_max_over_mean: float | None
    kl_teacher_baseline: float | None
    kl_teacher_baseline_standard_error: float | None
    kl_saved: float | None
    kl_saved_standard_error: float | None
    kl_ratio_to_baseline: float | None
    teacher_loss: float
    student_loss: float
    baseline_loss: float | None
    both_right: int
    only_teacher: int
    only_student: int
    neither: int
    student_only_right: int | None
    baseline_only_right: int | None
    class_counts: NDArray[np.int64] | None
    teacher_class_accuracy: NDArray[np.float64] | None
    student_class_accuracy: NDArray[np.float64] | None
    student_top1_mean: float
    logit_scale_ratio: float | None
    worst: tuple[ExampleGap, ...]


class ExampleGapsProbe:
    """Accumulates :class:`ExampleGaps`; memory does not depend on the number of rows.

    num_classes: C. temperature: T of the divergences. worst: how many rows to list. Rows labelled -100 are
    skipped, but keep their place in ``ExampleGap.index``.
    """

    def __init__(self, num_classes: int, temperature: float = 1.0, worst: int = 100) -> None:
        self.num_classes = checked_class_count(num_classes)
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; expected a positive number")
        self.temperature = temperature
        self._seen = 0
        self._with_baseline: bool | None = None
        self._means = {name: RunningMean() for name in _MEANS}
        self._right = np.zeros((2, 2, 2), dtype=np.int64)  # teacher, student, baseline: wrong 0, right 1
        self._agreeing = 0
        self._baseline_agreeing = 0
        self._class_rows = np.zeros((3, num_classes), dtype=np.int64)  # all, teacher right, student right
        self._worst = GapRanking(worst)

    def update(
        self,
        teacher_logits: NDArray[np.floating],
        student_logits: NDArray[np.floating],
        labels: NDArray[np.integer],
        baseline_logits: NDArray[np.floating] | None = None,
    ) -> None:
        """Count a chunk: logits [n, C] of each model, labels [n].

        Raises ValueError for arrays that disagree in shape, labels out of range, NaN or infinite logits, and
        a baseline that is given for some chunks only.
        """
        chunks = {"teacher_logits": teacher_logits, "student_logits": student_logits}
        if baseline_logits is not None:
            chunks["baseline_logits"] = baseline_logits
        for name, chunk in chunks.items():
            chunks[name] = checked_logits(chunk, self.num_classes, name)
            if len(chunk) != len(teacher_logits):
                raise ValueError(f"{name} has {len(chunk)} rows but teacher_logits {len(teacher_logits)}")
        rows_in_chunk = len(teacher_logits)
        labels = checked_labels(labels, rows_in_chunk, self.num_classes)
        if rows_in_chunk:
            self._expect_baseline(baseline_logits is not None)
        for rows in row_slices(rows_in_chunk, self.num_classes, BLOCK_ELEMENTS):
            kept = np.flatnonzero(labels[rows] != IGNORED_LABEL)
            if len(kept):
                truth = labels[rows][kept]
                outputs = [
                    read_outputs(chunk[rows][kept], truth, self.temperature, name) for name, chunk in chunks.items()
                ]
                self._count(outputs, truth, self._seen + kept)
            self._seen += rows.stop - rows.start

    def merge(self, other: "ExampleGapsProbe") -> None:
        """Add another worker's rows, as if they came after the rows given here."""
        if (other.num_classes, other.temperature) != (self.num_classes, self.temperature):
            raise ValueError("cannot merge probes made for different temperatures or numbers of classes")
        if other._with_baseline is not None:
            self._expect_baseline(other._with_baseline)
        for name in _MEANS:
            self._means[name].merge(other._means[name])
        self._right += other._right
        self._agreeing += other._agreeing
        self._baseline_agreeing += other._baseline_agreeing
        self._class_rows += other._class_rows
        self._worst.merge(other._worst, offset=self._seen)
        self._seen += other._seen

    def compute(self) -> ExampleGaps:
        """The measurements so far; ValueError where no row was counted."""
        n = int(self._right.sum())
        if not n:
            raise ValueError("no labelled row was counted; call update() with at least one")
        means = self._means
        compared = bool(self._with_baseline)
        kl, kl_baseline = means["kl_teacher_student"], means["kl_teacher_baseline"]
        right = self._right
        reported = self.num_classes <= MAX_REPORTED_CLASSES
        return ExampleGaps(
            n=n,
            temperature=self.temperature,
            teacher_accuracy=int(right[1].sum()) / n,
            student_accuracy=int(right[:, 1].sum()) / n,
            baseline_accuracy=int(right[:, :, 1].sum()) / n if compared else None,
            agreement=self._agreeing / n,
            baseline_agreement=self._baseline_agreeing / n if compared else None,
            kl_teacher_student=kl.mean,
            kl_teacher_student_standard_error=kl.standard_error,
            kl_student_teacher=means["kl_student_teacher"].mean,
            kl_student_teacher_standard_error=means["kl_student_teacher"].standard_error,
            js=means["js"].mean,
            js_standard_error=means["js"].standard_error,
            kl_max=kl.largest,
            kl_max_over_mean=_ratio(kl.largest, kl.mean),
            kl_teacher_baseline=kl_baseline.mean if compared else None,
            kl_teacher_baseline_standard_error=kl_baseline.standard_error,
            kl_saved=means["kl_saved"].mean if compared else None,
            kl_saved_standard_error=means["kl_saved"].standard_error,
            kl_ratio_to_baseline=_ratio(kl.mean, kl_baseline.mean),
            teacher_loss=means["teacher_loss"].mean,
            student_loss=means["student_loss"].mean,
            baseline_loss=means["baseline_loss"].mean if compared else None,
            both_right=int(right[1, 1].sum()),
            only_teacher=int(right[1, 0].sum()),
            only_student=int(right[0, 1].sum()),
            neither=int(right[0, 0].sum()),
            student_only_right=int(right[:, 1, 0].sum()) if compared else None,
            baseline_only_right=int(right[:, 0, 1].sum()) if compared else None,
            class_counts=self._class_rows[0].copy() if reported else None,
            teacher_class_accuracy=self._class_accuracy(1) if reported else None,
            student_class_accuracy=self._class_accuracy(2) if reported else None,
            student_top1_mean=means["student_top1"].mean,
            logit_scale_ratio=_ratio(means["student_spread"].mean, means["teacher_spread"].mean),
            worst=self._worst.gaps,
        )

    def _expect_baseline(self, given: bool) -> None:
        if self._with_baseline is not None and self._with_baseline != given:
            raise ValueError("baseline_logits must be given for every chunk or for none")
        self._with_baseline = given

    def _count(self, outputs: list[RowOutputs], labels: NDArray[np.int64], index: NDArray[np.int64]) -> None:
        teacher, student = outputs[:2]
        kl = kl_divergence(teacher, student)
        rows: dict[str, NDArray[np.float64]] = {
            "kl_teacher_student": kl,
            "kl_student_teacher": kl_divergence(student, teacher),
            "js": js_divergence(teacher, student),
            "teacher_loss": teacher.loss,
            "student_loss": student.loss,
            "teacher_spread": teacher.spread,
            "student_spread": student.spread,
            "student_top1": student.confidence,
        }
        baseline_right = np.zeros(len(labels), dtype=np.int64)
        if len(outputs) == 3:
            baseline = outputs[2]
            kl_baseline = kl_divergence(teacher, baseline)
            rows |= {"kl_teacher_baseline": kl_baseline, "kl_saved": kl_baseline - kl}
            rows["baseline_loss"] = baseline.loss
            baseline_right = (baseline.predicted == labels).astype(np.int64)
            self._baseline_agreeing += int((baseline.predicted == teacher.predicted).sum())
        for name, values in rows.items():
            self._means[name].update(values)
        teacher_right, student_right = teacher.predicted == labels, student.predicted == labels
        np.add.at(self._right, (teacher_right.astype(np.int64), student_right.astype(np.int64), baseline_right), 1)
        self._agreeing += int((teacher.predicted == student.predicted).sum())
        for row, chosen in enumerate((labels, labels[teacher_right], labels[student_right])):
            self._class_rows[row] += np.bincount(chosen, minlength=self.num_classes)
        self._worst.update(kl, teacher, student, labels, index)

    def _class_accuracy(self, model: int) -> NDArray[np.float64]:
        counts = self._class_rows[0]
        return np.asarray(self._class_rows[model] / np.where(counts > 0, counts, np.nan))


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None
