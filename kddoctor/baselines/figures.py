"""The figures that a later run is held against, each as the mean of one value for every example.

That one form serves them all: the difference of two runs is the mean of paired differences, whose spread is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from kddoctor.baselines.decisions import Decisions, canonical_order, decisions_of
from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.run.directory import Run

Floats = NDArray[np.float64]

BINS = 15
#: Places of a ranking that count.
PLACES = 10


@dataclass(frozen=True)
class Figure:
    """values: [n] whose mean is ``value``, one for each example, or for each query of a ranking. shares: each value is
    0 or 1. worse: 1 where a larger value is worse, else -1.
    """

    name: str
    values: Floats
    worse: int = -1

    @property
    def value(self) -> float:
        """The figure itself."""
        return float(self.values.mean())

    @property
    def binary(self) -> bool:
        """Whether every value is 0 or 1."""
        return bool(np.isin(self.values, (0.0, 1.0)).all())


def figures_of(run: Run) -> dict[str, Figure]:
    """What this run's student does on the held-out split, by name. Raises UsageError without whole logits."""
    made = decisions_of(run)
    found = [
        Figure("accuracy", _by_example(made, made.right)),
        Figure("agreement", _by_example(made, made.agrees)),
        Figure("retention", _retention(made)),
        Figure("calibration error", _by_example(made, _calibration(made)), worse=1),
        *_of_rankings(run, made),
    ]
    return {figure.name: figure for figure in found}


def _by_example(made: Decisions, values: NDArray[np.generic]) -> Floats:
    """Sums over the decisions of each example, scaled so that their mean is the mean over all decisions."""
    if len(made.example) == made.examples:
        return values.astype(float)
    sums = np.bincount(made.example, weights=values.astype(float), minlength=made.examples)
    return np.asarray(sums * (made.examples / len(made.example)), float)


def _retention(made: Decisions) -> Floats:
    """Student over teacher, linearised: R + (right − R · teacher_right) / accuracy of the teacher."""
    student, teacher = _by_example(made, made.right), _by_example(made, made.teacher_right)
    if teacher.mean() == 0:
        return np.zeros(len(student))
    ratio = student.mean() / teacher.mean()
    return np.asarray(ratio + (student - ratio * teacher) / teacher.mean(), float)


def _calibration(made: Decisions) -> Floats:
    """[D] whose mean is the expected calibration error (Guo et al. 2017, equation 3): each decision's gap between being
    right and confidence, with the sign of its bin's.
    """
    bins = np.minimum((made.confidence * BINS).astype(np.int64), BINS - 1)
    gap = made.right - made.confidence
    return np.asarray(gap * np.sign(np.bincount(bins, weights=gap, minlength=BINS))[bins], float)


def _of_rankings(run: Run, made: Decisions) -> Iterator[Figure]:
    if made.score is None:
        return
    labels = len(made.example) // made.examples
    shape = (made.examples, labels)
    truth, score = made.label.reshape(shape), made.score.reshape(shape)
    usable = [c for c in range(labels) if 0 < (truth[:, c] > 0).sum() < made.examples]
    if usable:
        yield Figure("auc", np.mean([_area(truth[:, c] > 0, score[:, c]) for c in usable], axis=0))
    part = run.predictions(held_out_split(run))
    assert part is not None
    if part.group_ids is not None and labels == 1:
        groups = np.asarray(part.group_ids.read())[canonical_order(part)]
        gains = _gains(groups, truth[:, 0], score[:, 0])
        if len(gains) > 1:
            yield Figure("ndcg", gains)


def _area(yes: NDArray[np.bool_], score: Floats) -> Floats:
    """[n] whose mean is the area under the ROC curve, and whose spread is that of DeLong et al. 1988: of each row the
    share of the other class that it is ranked rightly against, weighted by the share of its own.
    """
    ranks = rankdata(score)
    above = np.empty(len(score))
    above[yes] = (ranks[yes] - rankdata(score[yes])) / (~yes).sum()
    above[~yes] = 1 - (ranks[~yes] - rankdata(score[~yes])) / yes.sum()
    area = above[yes].mean()
    share = np.where(yes, yes.mean(), 1 - yes.mean())
    return np.asarray(area + (above - area) / share, float)


def _gains(groups: NDArray[np.int64], truth: NDArray[np.int64], score: Floats) -> Floats:
    """[G] normalised discounted cumulative gain at ten of every query that has something to rank."""
    from sklearn.metrics import ndcg_score

    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][0] - 1))
    return np.array(
        [
            ndcg_score(truth[None, rows], score[None, rows], k=PLACES)
            for rows in np.split(order, starts[1:])
            if 0 < (truth[rows] > 0).sum() < len(rows)
        ]
    )
