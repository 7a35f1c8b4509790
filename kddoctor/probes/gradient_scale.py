"""How large gradients are, beside what the recorded loss says that they should be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A norm this close to the largest one may have been clipped.
CEILING = 0.999
#: Steps from which a constant is told.
MIN_STEPS = 4


@dataclass(frozen=True)
class Ratio:
    """Measured over expected norm. value: the median; spread: (max − min) / median over the steps that count; steps:
    their number; varied: (max − min) / median of the expected norms there, which a constant ratio must not share.
    clipped: steps left out because their norms lie at a common ceiling below what was expected.
    """

    value: float
    spread: float
    steps: int
    varied: float
    clipped: int


@dataclass(frozen=True)
class GradientScale:
    """parameters: of the gradient in the student's parameters, as the optimizer got it. term: of the distillation
    term's gradient in the student's logits, by the closed form of the loss that was fitted. weight: of the term's share
    in the total's gradient, by its weight in the total's value. None where it was not recorded.
    """

    parameters: Ratio | None
    term: Ratio | None
    weight: Ratio | None


def ratio(measured: Array, expected: Array, *, clipping: bool = False) -> Ratio | None:
    """The ratio of two columns of norms, [steps] each with NaN where unknown.

    clipping: leave out steps at a common ceiling of the measured norm. None where too few steps are left.
    """
    known = np.isfinite(measured) & np.isfinite(expected) & (expected > 0)
    measured, expected = measured[known], expected[known]
    clipped = 0
    if clipping and len(measured) >= MIN_STEPS:
        at_ceiling = measured >= CEILING * measured.max()
        # A common ceiling is one that several steps share while their expected norms differ.
        if at_ceiling.sum() > 1 and np.ptp(expected[at_ceiling]) > (1 - CEILING) * 10 * expected[at_ceiling].max():
            clipped = int(at_ceiling.sum())
            measured, expected = measured[~at_ceiling], expected[~at_ceiling]
    if len(measured) < MIN_STEPS:
        return None
    each = measured / expected
    middle = float(np.median(each))
    if middle == 0:
        return Ratio(0.0, float(np.ptp(each)), len(each), float(np.ptp(expected) / np.median(expected)), clipped)
    return Ratio(
        middle,
        float(np.ptp(each) / middle),
        len(each),
        float(np.ptp(expected) / np.median(expected)),
        clipped,
    )
