"""How large the logits of teacher and student are against each other, and whether a bound holds the student's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Logits within this share of the largest one stand at the bound.
AT_BOUND = 0.05
#: Quantile of the margins that stands for their end.
END = 0.99
#: Elements that are ranked.
RANKED_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class LogitScale:
    """teacher_sd, student_sd: mean within-row s.d. of the logits. teacher_margin: median distance of the teacher's top
    logit from the mean of the others, in nats. rank_correlation: mean of Spearman's over rows. student_bound: largest
    absolute logit of the student; at_bound: share of its logits within 5 % of that; both_ends: whether logits stand at
    both the positive and the negative bound. top_edge: median over the rows of the student's margin, as the teacher's
    above, over its 99th percentile: 1 where most rows end at one limit, or where all get the same answer. own_edge: the
    same of the logits less their mean over the rows, of which the same answer to all has nothing. rows: counted.
    """

    rows: int
    teacher_sd: float
    student_sd: float
    teacher_margin: float
    rank_correlation: float | None
    student_bound: float
    at_bound: float
    both_ends: bool
    top_edge: float = 0.0
    own_edge: float = 0.0

    @property
    def ratio(self) -> float:
        """Student over teacher."""
        return self.student_sd / self.teacher_sd if self.teacher_sd > 0 else float("inf")


class LogitScaleProbe:
    """Accumulates :class:`LogitScale`. Ranks and bounds are read from the first two million elements."""

    def __init__(self) -> None:
        self._rows = 0
        self._sd = np.zeros(2)
        self._margins: list[Array] = []
        self._own_margins: list[Array] = []
        self._correlation: list[Array] = []
        self._ranked = 0
        self._sorted: list[NDArray[np.float32]] = []

    def update(self, teacher_logits: NDArray[np.floating], student_logits: NDArray[np.floating]) -> None:
        """Count a chunk: finite logits [n, C] of both."""
        t, s = (np.asarray(z, np.float64) for z in (teacher_logits, student_logits))
        if not len(t):
            return
        self._rows += len(t)
        self._sd += [float(t.std(axis=1).sum()), float(s.std(axis=1).sum())]
        self._margins.append(_margin(t))
        self._own_margins.append(_margin(s))
        room = (RANKED_ELEMENTS - self._ranked) // t.shape[1]
        if room > 0 and t.shape[1] > 2:
            self._correlation.append(_spearman(t[:room], s[:room]))
            self._ranked += min(room, len(t)) * t.shape[1]
            self._sorted.append(student_logits[:room].astype(np.float32))

    def merge(self, other: "LogitScaleProbe") -> None:
        """Add another worker's rows."""
        self._rows += other._rows
        self._sd += other._sd
        self._margins += other._margins
        self._own_margins += other._own_margins
        self._correlation += other._correlation
        self._ranked += other._ranked
        self._sorted += other._sorted

    def compute(self) -> LogitScale | None:
        """The measurements so far; None where no row was counted."""
        if not self._rows:
            return None
        teacher, student = self._sd / self._rows
        values = np.concatenate(self._sorted) if self._sorted else np.zeros((1, 3), np.float32)
        bound = float(np.abs(values).max())
        near = np.abs(values) >= (1 - AT_BOUND) * bound
        correlation = np.concatenate(self._correlation) if self._correlation else np.zeros(0)
        usable = correlation[np.isfinite(correlation)]
        return LogitScale(
            rows=self._rows,
            teacher_sd=float(teacher),
            student_sd=float(student),
            teacher_margin=float(np.median(np.concatenate(self._margins))),
            rank_correlation=float(usable.mean()) if len(usable) else None,
            student_bound=bound,
            at_bound=float(near.mean()) if bound > 0 else 0.0,
            both_ends=bool((values[near] > 0).any() and (values[near] < 0).any()),
            top_edge=_edge(np.concatenate(self._own_margins)),
            own_edge=_edge(_margin(np.asarray(values - values.mean(axis=0), np.float64))),
        )


def _margin(z: Array) -> Array:
    """[n] distance of the largest logit from the mean of the others."""
    top = z.max(axis=1)
    return np.asarray(top - (z.sum(axis=1) - top) / max(1, z.shape[1] - 1))


def _edge(margins: Array) -> float:
    end = float(np.quantile(margins, END))
    return float(np.median(margins)) / end if end > 0 else 0.0


def _spearman(first: Array, second: Array) -> Array:
    """[n] rank correlation of each row; logits are rarely equal, and equal ones are ranked as they stand."""
    ranks = [z.argsort(axis=1).argsort(axis=1).astype(np.float64) for z in (first, second)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.asarray(np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=size > 0))
