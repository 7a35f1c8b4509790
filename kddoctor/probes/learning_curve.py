"""What the scalars over time say: still improving, level, or diverged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Row = Mapping[str, object]

#: Share of the schedule whose trend counts as "the end".
TAIL = 1 / 3
#: Fewer points than this show no trend.
MIN_POINTS = 5


@dataclass(frozen=True)
class Trend:
    """The end of one curve. rise: change per schedule length, from a line through the last third (Theil-Sen).

    low, high: 90 % interval of ``rise``. points: how many values the line went through. last, best: values.
    """

    rise: float
    low: float
    high: float
    points: int
    first: float
    last: float
    best: float
    best_is_last: bool


@dataclass(frozen=True)
class Pace:
    """How fast the loss fell in the second half, as a multiple of its average pace over the whole schedule.

    1: it has not slowed down at all; 0: it is level. From a line through the second half (Theil-Sen); low, high:
    90 % interval. Infinite high where it never fell.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """Trends of one run.

    pace: how fast the training loss still fell. final_rate: the last learning rate over the largest one.
    quality: evaluation accuracy, agreement or another "more is better" key; None where too few were logged.
    loss: training loss (distillation term where logged). ``nonfinite_late``: share of non-finite training losses
    in the last tenth. ``explosion``: median of the last tenth of finite losses over the smallest of the first three.
    """

    quality: Trend | None
    quality_key: str | None
    loss: Trend | None
    logged: int
    nonfinite: int
    nonfinite_late: float
    explosion: float
    epochs: float
    pace: Pace | None
    final_rate: float | None


class LearningCurveProbe:
    """Accumulates rows of metrics.jsonl, in any order; ``compute`` sorts them by step."""

    QUALITY_KEYS = ("student_accuracy", "accuracy", "agreement", "auc", "ndcg")

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def update(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        self.rows.extend(rows)

    def merge(self, other: "LearningCurveProbe") -> None:
        """Add another worker's rows."""
        self.rows.extend(other.rows)

    def compute(self) -> LearningCurve:
        """Raises ValueError when no row was added."""
        if not self.rows:
            raise ValueError("a learning curve needs at least one row of metrics")
        train = [row for row in self.rows if row.get("split", "train") == "train"]
        held_out = [row for row in self.rows if row.get("split") in ("val", "test")]
        quality, key = None, None
        for name in self.QUALITY_KEYS:
            quality = _trend(*series(held_out, name), larger_is_better=True)
            if quality is not None:
                key = name
                break
        steps, losses = series(train, "loss")
        finite = np.isfinite(losses)
        tenth = max(1, len(losses) // 10)
        kd_steps, kd = series(train, "kd_loss")
        loss_trend = _trend(kd_steps, kd, larger_is_better=False)
        if loss_trend is None:
            loss_trend = _trend(steps, losses, larger_is_better=False)
        epochs = series(self.rows, "epoch")[1]
        return LearningCurve(
            quality=quality,
            quality_key=key,
            loss=loss_trend,
            logged=len(losses),
            nonfinite=int((~finite).sum()),
            nonfinite_late=float((~finite[-tenth:]).mean()) if len(losses) else 0.0,
            explosion=_explosion(losses[finite]),
            epochs=float(epochs.max()) if len(epochs) else 0.0,
            pace=_pace(kd_steps, kd) or _pace(steps, losses),
            final_rate=_final_rate(series(train, "lr")[1]),
        )


def series(rows: Sequence[Row], key: str) -> tuple[Array, Array]:
    """(step, value) of the rows that hold ``key``, by step (by position where no step was logged)."""
    pairs = []
    for position, row in enumerate(rows):
        value = row.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            step = row.get("step", row.get("epoch", position))
            pairs.append((float(step) if isinstance(step, int | float) else float(position), float(value)))
    pairs.sort(key=lambda pair: pair[0])
    table = np.array(pairs, float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _explosion(losses: Array) -> float:
    """The first losses are the reference, not the first tenth: a run can explode within a few steps."""
    if len(losses) < 2 * MIN_POINTS:
        return 1.0
    tenth = max(1, len(losses) // 10)
    start = float(np.abs(losses[:3]).min())
    return float(np.median(np.abs(losses[-tenth:])) / max(start, 1e-12))


def _final_rate(rates: Array) -> float | None:
    rates = rates[np.isfinite(rates)]
    return float(rates[-1] / rates.max()) if len(rates) and rates.max() > 0 else None


def _pace(steps: Array, losses: Array) -> Pace | None:
    keep = np.isfinite(losses)
    steps, losses = steps[keep], losses[keep]
    if len(losses) < 2 * MIN_POINTS or steps[-1] <= steps[0]:
        return None
    # Medians of both ends, since one batch is noise; the steep very beginning only makes the average faster.
    few = max(3, len(losses) // 10)
    fallen = float(np.median(losses[:few]) - np.median(losses[-few:]))
    if fallen <= 0:
        return Pace(0.0, 0.0, math.inf)
    length = steps[-1] - steps[0]
    half = steps >= steps[-1] - length / 2
    slope, _, low, high = stats.theilslopes(losses[half], steps[half], alpha=0.9)
    return Pace(*(float(-s * length / fallen) for s in (slope, high, low)))


def _trend(steps: Array, values: Array, *, larger_is_better: bool) -> Trend | None:
    keep = np.isfinite(values)
    steps, values = steps[keep], values[keep]
    if len(values) < MIN_POINTS or steps[-1] <= steps[0]:
        return None
    length = steps[-1] - steps[0]
    tail = steps >= steps[-1] - TAIL * length
    if tail.sum() < MIN_POINTS:
        tail = np.zeros(len(steps), bool)
        tail[-MIN_POINTS:] = True
    slope, _, low, high = stats.theilslopes(values[tail], steps[tail], alpha=0.9)
    best_index = int(np.argmax(values) if larger_is_better else np.argmin(values))
    return Trend(
        rise=float(slope * length),
        low=float(low * length),
        high=float(high * length),
        points=int(tail.sum()),
        first=float(values[0]),
        last=float(values[-1]),
        best=float(values[best_index]),
        best_is_last=best_index >= len(values) - max(1, len(values) // 10),
    )
