"""Whether floating point broke a loss that is right on paper: NaN at finite logits, or noise in a value's place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Steps from which noise is judged.
MIN_STEPS = 5


@dataclass(frozen=True)
class BrokenStep:
    """The first step whose loss (or gradient) was not finite.

    step: its number. finite_logits: of both models there. largest_logit: the largest absolute one. exact: the declared
    distillation loss in float64 there, NaN where it cannot be computed. before: median finite loss recorded earlier,
    NaN without any. term: whether it was the distillation term (the hard-label term being finite), or not known.
    """

    step: int
    finite_logits: bool
    largest_logit: float
    exact: float
    before: float
    term: bool | None


@dataclass(frozen=True)
class LossNumerics:
    """steps: recorded ones; broken: those without a finite loss; broken_without_rows: those of them where no position
    counts. first: the first broken one. gradient_broke: (step, its loss, median loss before) of the first logged step
    whose gradient was not finite although its loss was, before any other was not.

    declared: whether there is a plain divergence to compare with. noise: largest |recorded − declared| relative to the
    entropies whose difference a divergence is. relative_noise: median |recorded − declared| / declared. negative:
    share of steps at which the recorded divergence is below 0. mixed: share of the rarer sign of recorded − declared.
    halves: every recorded value (as it is, or without its factor) is a number of half precision.
    """

    steps: int
    broken: int
    broken_without_rows: int
    first: BrokenStep | None
    gradient_broke: tuple[int, float, float] | None
    declared: bool
    noise: float
    relative_noise: float
    negative: float
    mixed: float
    halves: bool


@dataclass(frozen=True)
class Noise:
    """See ``LossNumerics``."""

    noise: float
    relative: float
    negative: float
    mixed: float
    halves: bool


NO_NOISE = Noise(float("nan"), float("nan"), float("nan"), float("nan"), False)


def noise_of(recorded: Array, exact: Array, entropies: Array, factor: float) -> Noise:
    """How a recorded divergence differs from the declared one; see ``LossNumerics``.

    recorded, exact, entropies: [steps], the last the size of the numbers whose difference the divergence is. factor:
    what multiplies a plain mean in all three.
    """
    if len(recorded) < MIN_STEPS:
        return NO_NOISE
    difference = recorded - exact
    above = float((difference > 0).mean())
    return Noise(
        noise=float((np.abs(difference) / np.maximum(entropies, 1e-300)).max()),
        relative=float(np.median(np.abs(difference) / np.maximum(np.abs(exact), 1e-300))),
        negative=float((recorded < 0).mean()),
        mixed=min(above, 1 - above),
        halves=bool(_halves(recorded) or _halves(recorded / factor)),
    )


def _halves(values: Array) -> bool:
    """Whether all are numbers of 11 bits, as float16 and bfloat16 have at most; float32 products come to 1e-7."""
    fraction, _ = np.frexp(values)
    scaled = fraction * 2.0**11
    return bool(np.abs(scaled - np.round(scaled)).max() <= 2.0**11 * 2e-7)


def first_broken_gradient(rows: Sequence[tuple[int, float, float | None]]) -> tuple[int, float, float] | None:
    """(step, loss there, median loss before) where the gradient is the first to be no number.

    rows: (step, loss, norm of the gradient or None) in order of time.
    """
    before: list[float] = []
    for step, loss, norm in rows:
        if not np.isfinite(loss):
            return None
        if norm is not None and not np.isfinite(norm):
            return step, loss, float(np.median(before)) if before else loss
        before.append(loss)
    return None
