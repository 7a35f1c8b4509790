"""What multiplies a recorded divergence of whole batches, where only a part of each batch's rows was recorded.

The mean over all rows of a batch and that over some of them differ by chance alone, and chance averages out over steps:
the ratio of the two sums over the steps is what multiplies the divergence. That tells a missing T² or a mean over
classes from what was declared, and no more: of a part of the rows nothing is an identity.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Steps from which a ratio of sums has a standard error that means something.
FEWEST = 8
#: Distance of logarithms within which a factor is the one that it is compared with, and standard errors of the same.
NEAR, ERRORS = 0.1, 3.0
#: Standard error of the logarithm beyond which the factor is not known.
VAGUE = 0.15
#: Factors closer than this many windows are not told apart.
APART = 2.0

AS_DECLARED = "as declared"


@dataclass(frozen=True)
class LossOfAPart:
    """The factor of the recorded term over the declared one, from a part of the rows of each batch.

    factor: ratio of the sums over the steps. error: standard error of its logarithm. first, second: the same of the two
    halves of the steps, in time. name: "as declared", "C" (a mean over classes), "T²" (it is missing), "C and T²", or
    None where it is another number, a moving one, or two of these are too close.
    """

    steps: int
    rows: int
    batch: int
    factor: float
    error: float
    first: float
    second: float
    name: str | None

    @property
    def as_declared(self) -> bool:
        """Whether the recorded term is the declared one, as far as chance lets one see."""
        return self.name == AS_DECLARED


def loss_of_a_part(
    recorded: Array, declared: Array, *, rows: int, batch: int, classes: int, squared: float
) -> LossOfAPart | None:
    """Compare recorded [K] losses of whole batches with the declared ones of a part of each, in the order of time.

    rows: recorded of each batch, of so many. squared: T² where it was declared, 1 where it was not.
    Returns None where there are too few steps, or where one of the sums is not positive.
    """
    good = np.isfinite(recorded) & np.isfinite(declared)
    r, d = recorded[good], declared[good]
    if len(r) < FEWEST or r.sum() <= 0 or d.sum() <= 0:
        return None
    factor, error = _ratio(r, d)
    half = len(r) // 2
    halves = (_ratio(r[:half], d[:half]), _ratio(r[half:], d[half:]))
    steady = error <= VAGUE and _same(*halves)
    name = _name(factor, error, classes, squared) if steady else None
    return LossOfAPart(len(r), rows, batch, factor, error, halves[0][0], halves[1][0], name)


def _ratio(recorded: Array, declared: Array) -> tuple[float, float]:
    """Ratio of the sums, and the standard error of its logarithm (linearised; Cochran 1977, section 2.11)."""
    if recorded.sum() <= 0 or declared.sum() <= 0:
        return float("nan"), float("inf")
    factor = float(recorded.sum() / declared.sum())
    left = recorded - factor * declared
    return factor, float(np.sqrt(len(left) * left.var(ddof=1)) / recorded.sum())


def _same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the factor stays the same: that of another temperature, or another form, moves as the student learns."""
    if not (one[0] > 0 and other[0] > 0):
        return False
    return abs(float(np.log(one[0] / other[0]))) <= max(NEAR, ERRORS * float(np.hypot(one[1], other[1])))


def _name(factor: float, error: float, classes: int, squared: float) -> str | None:
    window = max(NEAR, ERRORS * error)
    numbers = {AS_DECLARED: 1.0, "C": 1 / classes}
    if squared != 1:
        numbers |= {"T²": 1 / squared, "C and T²": 1 / (classes * squared)}
    distance = {name: abs(float(np.log(factor / number))) for name, number in numbers.items()}
    nearest = min(distance, key=lambda name: distance[name])
    if distance[nearest] > window:
        return None
    near = [n for n, number in numbers.items() if abs(np.log(number / numbers[nearest])) <= APART * window]
    return nearest if near == [nearest] else None
