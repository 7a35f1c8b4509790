"""How the teacher's outputs that the loss used follow from what the teacher itself says of the same inputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

#: Columns that are compared with one another; of a larger vocabulary the first ones stand for all.
MOST_COLUMNS = 512
#: Rows kept for the comparison.
MOST_ROWS = 20_000
#: Rows differ where their largest difference is beyond this share of the outputs' standard deviation.
ROUNDING = 1e-3


@dataclass(frozen=True)
class TargetsInLoop:
    """The loss's targets beside the teacher's own outputs for the same rows; classes centred row by row.

    rows: compared. changed: share of rows that differ by more than rounding. correlation: of all centred values;
    changed_correlation: of those in rows that differ, about the mean of each class. slope: of the targets on the
    outputs, by least squares. columns_matched: mean correlation of the columns after the best one-to-one matching;
    columns_in_place: without it. disagreement: share of rows with another top class (of one logit: another sign).
    divergence: median KL(targets ‖ outputs) at T = 1, nats. towards_label: mean of what the targets add to the labelled
    class, in standard deviations of the outputs. unlike: how far the targets of rows that differ are, as a set, from
    the outputs for these rows: the larger Kolmogorov-Smirnov distance of their largest values and their spreads (of two
    classes: of their differences). reordered: share of rows that differ whose values are the outputs' for that row in
    another order of the classes. distinct: different targets among the rows that differ. towards_label_error: standard
    error of towards_label. Nan where nothing varies.
    """

    rows: int
    changed: float
    correlation: float
    changed_correlation: float
    slope: float
    columns_matched: float
    columns_in_place: float
    disagreement: float
    divergence: float
    towards_label: float
    unlike: float = float("nan")
    reordered: float = 0.0
    distinct: int = 0
    towards_label_error: float = 0.0


class TargetsInLoopProbe:
    """Collects up to twenty thousand rows; memory does not grow after that."""

    def __init__(self) -> None:
        self.used: list[Floats] = []
        self.own: list[Floats] = []
        self.labels: list[Ints] = []
        self.rows = 0

    def update(self, used: Floats, own: Floats, labels: Ints) -> None:
        """Add [n, C] targets as the loss used them, outputs of the teacher for the same inputs, and [n] labels."""
        room = max(0, MOST_ROWS - self.rows)
        self.used.append(np.asarray(used[:room], np.float64))
        self.own.append(np.asarray(own[:room], np.float64))
        self.labels.append(np.asarray(labels[:room]))
        self.rows += min(room, len(used))

    def compute(self) -> TargetsInLoop | None:
        """None without rows."""
        if not self.rows:
            return None
        used, own, labels = (np.concatenate(parts) for parts in (self.used, self.own, self.labels))
        disagreement = float((used.argmax(1) != own.argmax(1)).mean())
        logp, logq = log_softmax(used, axis=1), log_softmax(own, axis=1)
        divergence = float(np.median((np.exp(logp) * (logp - logq)).sum(1)))
        a, b = (x - x.mean(1, keepdims=True) for x in (used, own))
        matched, in_place = _columns(a, b)
        spread = float(b.std())
        added = (a - b)[np.arange(len(a)), labels.clip(0, a.shape[1] - 1)]
        changed = np.abs(a - b).max(1) > ROUNDING * spread
        return TargetsInLoop(
            rows=self.rows,
            changed=float(changed.mean()),
            correlation=_correlation(a, b),
            changed_correlation=_correlation(*(x[changed] - x[changed].mean(0) for x in (a, b)))
            if changed.any()
            else float("nan"),
            slope=_ratio((a * b).sum(), (b * b).sum()),
            columns_matched=matched,
            columns_in_place=in_place,
            disagreement=disagreement,
            divergence=divergence,
            towards_label=_ratio(added.mean(), spread),
            towards_label_error=_ratio(added.std() / np.sqrt(len(added)), spread),
            unlike=_unlike(a[changed], b[changed]) if changed.any() else float("nan"),
            distinct=len(np.unique(np.round(a[changed] / max(ROUNDING * spread, 1e-300)), axis=0)),
            reordered=_reordered(a[changed], b[changed], ROUNDING * spread) if changed.any() else 0.0,
        )


def _columns(a: Floats, b: Floats) -> tuple[float, float]:
    """Mean correlation of the columns of a with those of b: best matching, and each with its own."""
    width = min(a.shape[1], MOST_COLUMNS)
    a, b = (x[:, :width] - x[:, :width].mean(0) for x in (a, b))
    norms = np.sqrt((a * a).sum(0))[:, None] * np.sqrt((b * b).sum(0))[None]
    with np.errstate(invalid="ignore", divide="ignore"):
        table = np.where(norms > 0, a.T @ b / norms, 0.0)
    ours, theirs = linear_sum_assignment(-table)
    return float(table[ours, theirs].mean()), float(np.diag(table).mean())


def _unlike(a: Floats, b: Floats) -> float:
    """Of two sets of centred rows: 0 where one is a shuffle of the other."""
    looks = [(x.max(1), x.std(1)) if x.shape[1] > 2 else (x[:, -1],) for x in (a, b)]
    return max(_distance(one, other) for one, other in zip(*looks, strict=True))


def _distance(one: Floats, other: Floats) -> float:
    """Kolmogorov and Smirnov's distance of two samples: the largest difference of their distribution functions."""
    every = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(part), every, side="right") / len(part) for part in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _reordered(a: Floats, b: Floats, rounding: float) -> float:
    return float((np.abs(np.sort(a, axis=1) - np.sort(b, axis=1)).max(1) <= rounding).mean())


def _correlation(a: Floats, b: Floats) -> float:
    return _ratio((a * b).sum(), np.sqrt((a * a).sum() * (b * b).sum()))


def _ratio(value: float, scale: float) -> float:
    return float(value / scale) if scale > 0 else float("nan")
