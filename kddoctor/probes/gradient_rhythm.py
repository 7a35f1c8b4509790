"""Does the length of the gradient follow a rhythm of so many steps, growing until it starts anew?

Gradients that are added up and set to zero only now and then grow from step to step: n of them are between √n times
(where they have nothing in common) and n times as long as one. Where the optimizer steps each time, the norms that it
got rise and fall with that rhythm, whatever else the run does. What comes back once an epoch has other reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Longest rhythm that is searched for, logged norms that it takes, and norms at each place of the rhythm.
LONGEST, MIN_ROWS, MIN_AT_PLACE = 64, 48, 4
#: Rhythms in an epoch from which they are told from the epoch itself.
EPOCH = 3
#: Neighbours on each side, among whose median a norm is read.
NEIGHBOURS = 24


@dataclass(frozen=True)
class GradientRhythm:
    """period: in steps. f: variance between the places of the rhythm over that within, both by their degrees of
    freedom. growth: largest over smallest mean norm of a place. order: rank correlation of the mean norms with their
    places, counted from the largest drop on; 1 where they rise throughout. places: that were logged. rows: norms read.
    within_epochs: counted from the start of each epoch.
    """

    period: int
    f: float
    growth: float
    order: float
    places: int
    rows: int
    within_epochs: bool

    @property
    def least_growth(self) -> float:
        """Of sums of gradients that have nothing in common, over the places that were logged."""
        between = self.period / self.places
        return float(np.sqrt(self.period / (self.period - (self.places - 1) * between)))


def gradient_rhythm(step: Sequence[int], norm: Sequence[float], per_epoch: int) -> GradientRhythm | None:
    """The clearest rhythm of logged norms that is not that of the epochs, per_epoch steps each; None with too few."""
    steps, norms = np.asarray(step, np.int64), np.asarray(norm, np.float64)
    good = np.isfinite(norms) & (norms > 0)
    steps, norms = steps[good], norms[good]
    if len(norms) < MIN_ROWS:
        return None
    logs = np.log(norms)
    level = np.array([np.median(logs[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1]) for i in range(len(logs))])
    found: list[GradientRhythm | None] = []
    for period in range(2, LONGEST + 1):
        if per_epoch % period == 0 or period % per_epoch == 0:
            continue
        found.append(_at(period, steps, logs - level, within_epochs=False))
        if EPOCH * period <= per_epoch:
            found.append(_at(period, steps % per_epoch, logs - level, within_epochs=True))
    clear = [rhythm for rhythm in found if rhythm is not None]
    if not clear:
        return None
    # A multiple of the period has more places for the same variance, and a smaller ratio.
    return max(clear, key=lambda rhythm: rhythm.f)


def _at(period: int, steps: NDArray[np.int64], logs: Array, *, within_epochs: bool) -> GradientRhythm | None:
    place, counts = np.unique(steps % period, return_counts=True)
    if len(place) < 2 or counts.min() < MIN_AT_PLACE:
        return None
    number = np.searchsorted(place, steps % period)
    means = np.bincount(number, logs) / counts
    between = float((counts * (means - logs.mean()) ** 2).sum()) / (len(place) - 1)
    within = float(((logs - means[number]) ** 2).sum()) / max(1, len(logs) - len(place))
    drop = int(np.diff(np.append(means, means[0])).argmin())
    ranks = np.roll(means, -drop - 1).argsort().argsort()
    return GradientRhythm(
        period=period,
        f=between / within if within > 0 else float("inf"),
        growth=float(np.exp(np.ptp(means))),
        order=float(np.corrcoef(ranks, np.arange(len(place)))[0, 1]),
        places=len(place),
        rows=len(logs),
        within_epochs=within_epochs,
    )
