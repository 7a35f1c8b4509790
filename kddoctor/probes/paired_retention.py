"""Retention, the student's metric over the teacher's, with an interval from the rows that both were asked."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from kddoctor.probes.chunks import IGNORED_LABEL

Floats = NDArray[np.float64]
#: Pseudo-rows of each of the four outcomes of a pair (Agresti and Min 2005): a handful of rows without a single error
#: is no certainty.
ADDED = 0.5


@dataclass(frozen=True)
class PairedRetention:
    """teacher, student: the metric. rows: those compared. clusters: independent groups of them.

    covariance: [2, 2], of (teacher, student) over draws of clusters. The two are right and wrong on the same rows, so
    their difference is much surer than either.
    """

    metric: str
    rows: int
    clusters: int
    teacher: float
    student: float
    covariance: Floats

    @property
    def retention(self) -> float:
        """Student over teacher; NaN where the teacher is at zero."""
        return self.student / self.teacher if self.teacher else math.nan

    def error_at(self, share: float) -> float:
        """Standard error of student − share · teacher."""
        direction = np.array([-share, 1.0])
        return math.sqrt(max(0.0, float(direction @ self.covariance @ direction)))

    def margin(self, share: float) -> float:
        """By how many standard errors the student is above this share of its teacher."""
        above, error = self.student - share * self.teacher, self.error_at(share)
        return above / error if error else math.copysign(math.inf, above) if above else 0.0

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Shares that the rows do not contradict (Fieller 1954); None where they contradict none, the teacher's own
        metric being too uncertain.
        """
        z2 = float(norm.ppf((1 + confidence) / 2)) ** 2
        vt, vs, both = self.covariance[0, 0], self.covariance[1, 1], self.covariance[0, 1]
        a = self.teacher**2 - z2 * vt
        b = self.student * self.teacher - z2 * both
        c = self.student**2 - z2 * vs
        if a <= 0 or b * b < a * c:
            return None
        half = math.sqrt(b * b - a * c)
        return float((b - half) / a), float((b + half) / a)

    def clusters_to_tell(self, share: float, confidence: float = 0.95) -> float:
        """How many clusters would tell a retention as it is measured now from ``share``; infinite where they agree."""
        margin = self.margin(share)
        return math.inf if margin == 0 else self.clusters * (float(norm.ppf((1 + confidence) / 2)) / margin) ** 2


def retention_of_choices(
    teacher: NDArray[np.integer], student: NDArray[np.integer], labels: NDArray[np.integer]
) -> PairedRetention:
    """teacher, student, labels: [n, …] classes; positions labelled -100 do not count."""
    counted = labels != IGNORED_LABEL
    right = [(chosen == labels) & counted for chosen in (teacher, student)]
    per_row = [values.reshape(len(labels), -1).sum(1).astype(float) for values in (*right, counted)]
    return retention_of_accuracy(per_row[0], per_row[1], per_row[2])


def retention_of_scores(
    teacher: NDArray[np.floating],
    student: NDArray[np.floating],
    labels: NDArray[np.generic],
    groups: NDArray[np.int64] | None = None,
) -> PairedRetention | None:
    """teacher, student, labels: [n, …] yes-or-no logits and answers; groups: [n]. None where one answer is missing."""
    truth, first, second = (np.asarray(values, float).reshape(len(labels), -1) for values in (labels, teacher, student))
    return retention_of_auc(np.rint(truth).astype(bool), first, second, groups)


def retention_of_accuracy(teacher: Floats, student: Floats, positions: Floats) -> PairedRetention:
    """teacher, student, positions: [n] right answers of each row, and answers that were asked for (1 for classes)."""
    total = positions.sum()
    shares = teacher.sum() / total, student.sum() / total
    influence = np.stack([values - share * positions for values, share in zip((teacher, student), shares, strict=True)])
    outcomes = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], float)
    covariance = _covariance(influence, total / len(positions))
    # The pseudo-rows widen the spread, and move nothing.
    rows = len(positions)
    off = outcomes - np.array(shares)[:, None]
    covariance = (covariance * rows**2 + ADDED * off @ off.T) / (rows + 4 * ADDED) ** 2
    return PairedRetention("accuracy", int(total), rows, float(shares[0]), float(shares[1]), covariance)


def retention_of_auc(
    labels: NDArray[np.bool_], teacher: Floats, student: Floats, groups: NDArray[np.int64] | None = None
) -> PairedRetention | None:
    """labels, teacher, student: [n, C] yes or no and scores, one column a label; groups: [n], rows that come together.

    The area under the ROC curve, mean over columns that hold both answers, with its covariance as in DeLong et al.
    1988. None where no column holds both.
    """
    usable = [c for c in range(labels.shape[1]) if 0 < labels[:, c].sum() < len(labels)]
    if not usable:
        return None
    areas, influence = np.zeros(2), np.zeros((2, len(labels)))
    for c in usable:
        for model, scores in enumerate((teacher, student)):
            area, part = _auc(labels[:, c], scores[:, c])
            areas[model] += area / len(usable)
            influence[model] += part / len(usable)
    if groups is not None:
        _, group = np.unique(groups, return_inverse=True)
        influence = np.stack([np.bincount(group.reshape(-1), weights=row) for row in influence])
    clusters = influence.shape[1]
    # Influence is already in units of the area: its sum over rows is the error of one draw.
    covariance = _covariance(influence * clusters, 1.0)
    return PairedRetention("auc", len(labels), clusters, float(areas[0]), float(areas[1]), covariance)


def _covariance(influence: Floats, scale: float) -> Floats:
    """[2, 2] of the mean of [2, n] over n independent clusters."""
    n = influence.shape[1]
    return np.asarray(influence @ influence.T / max(1, n - 1) / n / scale**2)


def _auc(labels: NDArray[np.bool_], scores: Floats) -> tuple[float, Floats]:
    """The area, and how far each row moves it: [n], summing to zero."""
    yes, no = scores[labels], scores[~labels]
    ranks = rankdata(scores)
    above = (ranks[labels] - rankdata(yes)) / len(no)  # share of the noes below each yes
    below = 1 - (ranks[~labels] - rankdata(no)) / len(yes)
    area = float(above.mean())
    influence = np.empty(len(labels))
    influence[labels] = (above - area) / len(yes)
    influence[~labels] = (below - area) / len(no)
    return area, influence
