"""Whether the student got worse on held-out rows while it still came closer to its targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.learning_curve import Row, series

#: Evaluations of one run without which no peak is told from noise, and those that count as the end.
FEWEST_POINTS, END = 8, 0.2
#: Evaluations over whose median the peak is looked for, so that no single lucky one is it.
SMOOTH = 3
QUALITY_KEYS = ("student_accuracy", "accuracy", "auc", "ndcg")


@dataclass(frozen=True)
class PastItsBest:
    """Held-out metric and distance to the targets, at the metric's best and at the end.

    key: of the metric. best: largest median of three evaluations in a row; last: median of the last fifth; share: of
    the schedule that was over at the best. noise: 1.48 times the median absolute difference of neighbouring
    evaluations in the last half, over √2. loss_then, loss_last: median of the training loss (the distillation term
    where logged) in a fifth of the schedule around the best, and in the last fifth; nan where none was logged.
    points: evaluations.
    """

    key: str
    best: float
    last: float
    share: float
    noise: float
    loss_then: float
    loss_last: float
    points: int

    @property
    def fall(self) -> float:
        """How much the metric lost after its best."""
        return self.best - self.last

    @property
    def loss_fall(self) -> float:
        """Share of the training loss at the best that went afterwards."""
        return (self.loss_then - self.loss_last) / abs(self.loss_then) if self.loss_then else float("nan")


def past_its_best(rows: Sequence[Row]) -> PastItsBest | None:
    """From rows of metrics.jsonl, in any order; None where too few evaluations were logged."""
    held_out = [row for row in rows if row.get("split") in ("val", "test")]
    train = [row for row in rows if row.get("split", "train") == "train"]
    for key in QUALITY_KEYS:
        steps, values = _finite(*series(held_out, key))
        if len(values) < FEWEST_POINTS or steps[-1] <= steps[0]:
            continue
        smooth = np.array([np.median(values[i : i + SMOOTH]) for i in range(len(values) - SMOOTH + 1)])
        peak = int(smooth.argmax()) + SMOOTH // 2
        length = steps[-1] - steps[0]
        end = steps[-1] - END * length
        half = values[len(values) // 2 :]
        then = last = float("nan")
        for name in ("kd_loss", "loss"):
            at, losses = _finite(*series(train, name))
            around = losses[np.abs(at - steps[peak]) <= END / 2 * length]
            if len(around) and (at >= end).any():
                then, last = float(np.median(around)), float(np.median(losses[at >= end]))
                break
        return PastItsBest(
            key=key,
            best=float(smooth.max()),
            last=float(np.median(values[steps >= end])),
            share=float((steps[peak] - steps[0]) / length),
            noise=float(1.48 * np.median(np.abs(np.diff(half))) / np.sqrt(2)),
            loss_then=then,
            loss_last=last,
            points=len(values),
        )
    return None


def _finite(steps: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    keep = np.isfinite(values)
    return steps[keep], values[keep]
