"""What the curves say of the learning rate and of the size of the batches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Row = Mapping[str, object]

#: Fewer training rows than this show nothing.
MIN_POINTS = 10
#: Share of its largest value from which a learning rate counts as not wound down.
FULL_RATE = 0.3
#: Share of the steps that the one taken for a long one exceeds.
LONG = 0.9
#: Losses of an epoch, and epochs, from which it shows whether the loss jumps between them.
MIN_LOSSES, MIN_EPOCHS = 4, 5
#: Steps at the beginning in which a rate that is too high shows.
BEGINNING = 0.2
#: Part of its greatest fall over which the loss is held against what its gradients promise.
PROMISED = 0.3


@dataclass(frozen=True)
class RateSigns:
    """From the training rows of metrics.jsonl.

    updates: optimizer steps. per_epoch: of one epoch, None where no epochs were logged. overshoots: share of steps at
    which lr ‖g‖² exceeds the loss, that is, at which the step is longer than the first-order model needs to bring the
    loss to zero (Polyak's step size, with 0 for the smallest loss); None without rates or gradient norms. peak: highest
    loss of the beginning (median of three) over the first. low, end: lowest running median and median of the last
    tenth, over the median of the first three losses. pace: how fast the loss fell in the second half of the time for
    which the rate had not been wound down, over its average pace up to there, with the ends of a 90 % interval;
    infinite where it never fell. rate: largest learning rate. spent: mean rate over the largest one, None where none
    was logged. stride: lr ‖g‖² over the loss at the step that is longer than nine tenths of those at full rate: the
    share of the loss that a first-order model takes off at one step; travel: the sum of these shares over all updates;
    both None as overshoots. set_back: mean rise of the loss from the end of an epoch to the beginning of the next, in
    its standard errors; None for fewer than five epochs of four losses or more.
    efficiency: of the first three tenths of its fall, the fall over the sum of lr ‖g‖² up to there: 1 for short steps
    of gradient descent without momentum, 1 / (1 - m) with a momentum m, and less for steps so long that the slope
    changes within them; None as overshoots.
    """

    updates: int
    per_epoch: float | None
    overshoots: float | None
    peak: float
    low: float
    end: float
    pace: float
    pace_high: float
    rate: float | None
    pace_low: float = math.nan
    stride: float | None = None
    travel: float | None = None
    set_back: float | None = None
    efficiency: float | None = None
    spent: float | None = None


class RateSignsProbe:
    """Accumulates rows of metrics.jsonl, in any order."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def update(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        self.rows.extend(rows)

    def merge(self, other: "RateSignsProbe") -> None:
        """Add another worker's rows."""
        self.rows.extend(other.rows)

    def compute(self) -> RateSigns | None:
        """None for fewer than ten finite training losses."""
        columns = self._columns()
        if columns is None:
            return None
        step, loss, rate, norm, epoch = columns
        updates = int(step[-1]) + 1
        epochs = float(np.nanmax(epoch)) + 1 if np.isfinite(epoch).any() else None
        first = max(float(np.median(loss[:3])), 1e-12)
        smooth = _running_median(loss)
        early = _medians(loss, 3)[: max(3, math.ceil(BEGINNING * len(loss)))]
        known = np.isfinite(rate) & np.isfinite(norm) & (loss > 0)
        pace, low, high = _pace_at_full_rate(step, loss, rate)
        strides = (rate[known] * norm[known] ** 2) / loss[known]
        full = rate[known] >= FULL_RATE * rate[known].max(initial=0.0)
        return RateSigns(
            updates=updates,
            per_epoch=updates / epochs if epochs else None,
            overshoots=float((strides > 1).mean()) if known.any() else None,
            peak=float(early.max()) / max(float(loss[0]), 1e-12),
            low=float(smooth.min()) / first,
            end=float(np.median(loss[-max(3, len(loss) // 10) :])) / first,
            pace=pace,
            pace_high=high,
            rate=float(np.nanmax(rate)) if np.isfinite(rate).any() else None,
            pace_low=low,
            stride=float(np.quantile(strides[full], LONG)) if known.any() else None,
            travel=float(strides.mean()) * updates if known.any() else None,
            set_back=_set_back(loss, epoch),
            efficiency=_efficiency(step, loss, rate * norm**2) if known.all() else None,
            spent=_spent(rate),
        )

    def _columns(self) -> Array | None:
        table = []
        for position, row in enumerate(self.rows):
            if row.get("split", "train") != "train" or not math.isfinite(_number(row, "loss")):
                continue
            step = _number(row, "step")
            rest = [_number(row, name) for name in ("loss", "lr", "grad_norm", "epoch")]
            table.append([float(position) if math.isnan(step) else step, *rest])
        if len(table) < MIN_POINTS:
            return None
        columns: Array = np.array(sorted(table, key=lambda row: row[0])).T
        return columns if columns[0][-1] > columns[0][0] else None


def _number(row: Row, key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _spent(rate: Array) -> float | None:
    largest = float(rate.max()) if np.isfinite(rate).all() else 0.0
    return float(rate.mean()) / largest if largest > 0 else None


def _set_back(loss: Array, epoch: Array) -> float | None:
    epochs = [
        part for number in np.unique(epoch[np.isfinite(epoch)]) if len(part := loss[epoch == number]) >= MIN_LOSSES
    ]
    if len(epochs) < MIN_EPOCHS:
        return None
    rises = np.array([after[:2].mean() - before[-2:].mean() for before, after in pairwise(epochs)])
    error = float(rises.std(ddof=1)) / math.sqrt(len(rises))
    return float(rises.mean()) / error if error > 0 else 0.0


def _efficiency(step: Array, loss: Array, promised: Array) -> float | None:
    fallen = float(np.median(loss[:3])) - _medians(loss, 5)
    reached = np.flatnonzero(fallen >= PROMISED * fallen.max())
    if not fallen.max() > 0 or not len(reached):
        return None
    end = int(reached[0]) + 2
    # Rows may be thinned: each stands for the steps up to the next.
    total = float((promised[:end] * np.diff(step[: end + 1])).sum())
    return float(fallen[reached[0]]) / total if total > 0 else None


def _running_median(values: Array) -> Array:
    """Over windows of a fortieth of the run, three values at least."""
    return _medians(values, max(3, len(values) // 40))


def _medians(values: Array, width: int) -> Array:
    medians: Array = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    return medians


def _pace_at_full_rate(step: Array, loss: Array, rate: Array) -> tuple[float, float, float]:
    known = np.isfinite(rate).all() and rate.max() > 0
    keep = rate >= FULL_RATE * rate.max() if known else np.ones(len(loss), bool)
    step, loss = step[keep], loss[keep]
    if len(loss) < MIN_POINTS:
        return math.inf, math.inf, math.inf
    few = max(3, len(loss) // 10)
    fallen, length = float(np.median(loss[:few]) - np.median(loss[-few:])), step[-1] - step[0]
    if fallen <= 0 or length <= 0:
        return math.inf, math.inf, math.inf
    half = step >= step[-1] - length / 2
    slope, _, low, high = stats.theilslopes(loss[half], step[half], alpha=0.9)
    return float(-slope * length / fallen), float(-high * length / fallen), float(-low * length / fallen)
