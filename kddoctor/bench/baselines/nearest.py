"""The nearest known run on all measurements: the cheap judge that looks perfect where only the seed is new."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kddoctor.bench.baselines.features import table
from kddoctor.bench.judged import HEALTHY, Example, Judge, Judgement

#: Neighbours that vote on how sure to be. The verdict is the nearest one's.
NEIGHBOURS = 5


def fit(examples: Sequence[Example]) -> Judge:
    """Says of a run what is true of the nearest example; then what is true of the others near by.

    Each feature is scaled to its rank among the examples, centred and divided by the ranks' standard deviation, since
    one loss of 1e12 would silence all other features otherwise. A missing feature is an average one.
    """
    if not examples:
        return lambda example: Judgement(False, (), 0.0)
    names = sorted({name for example in examples for name in example.features})
    known = table([example.features for example in examples], names)
    columns = [np.sort(column[~np.isnan(column)]) for column in known.T]
    ranks = _ranks(known, columns)
    spread = ranks.std(axis=0)
    varied = spread > 0
    points = ranks[:, varied] / spread[varied]

    def judge(example: Example) -> Judgement:
        place = _ranks(table([example.features], names), columns)[:, varied] / spread[varied]
        distances = np.linalg.norm(points - place, axis=1)
        order = np.argsort(distances, kind="stable")
        labels = [examples[int(at)].label for at in order]
        near = labels[:NEIGHBOURS]
        sick = near[0] != HEALTHY
        codes = tuple(label for label in dict.fromkeys(labels) if label != HEALTHY)
        return Judgement(sick, codes, Counter(near)[near[0]] / len(near) if sick else 0.0)

    return judge


def _ranks(values: NDArray[np.float64], columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[N, features] places among the known values, from -0.5 to 0.5; 0 where a value or its column is missing."""
    ranks = np.zeros(values.shape)
    for at, column in enumerate(columns):
        if len(column):
            low, high = (np.searchsorted(column, values[:, at], side) for side in ("left", "right"))
            ranks[:, at] = (low + high) / (2 * len(column)) - 0.5
    ranks[np.isnan(values)] = 0.0
    return ranks
