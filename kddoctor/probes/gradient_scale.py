"""How large gradients are, beside what the recorded loss says that they should be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A norm this close to the largest one may have been clipped.
CEILING = 0.999
#: Steps from which a constant is told.
MIN_STEPS = 4
#: The same where it is searched for among parts of a batch; devices among which rows are dealt out in turn.
MIN_STEPS_SEARCHED, MOST_DEVICES = 6, 8
#: A ratio that varies by no more than this is constant: norms in float32 leave 1e-5, in half precision 1e-3.
CONSTANT = 0.005


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
    in the total's gradient, by its weight in the total's value. None where it was not recorded. part: the rows of each
    batch to which alone the term's gradient belongs, None where these are all or unknown. labels: of the hard-label
    term's gradient in the student's logits, by the closed form of a cross-entropy.
    """

    parameters: Ratio | None
    term: Ratio | None
    weight: Ratio | None
    part: "Part | None" = None
    labels: Ratio | None = None
    beside: "Beside | None" = None


@dataclass(frozen=True)
class Beside:
    """The distillation term's norm over the labels' as measured, over the same by their closed forms in the student's
    logits: median, smallest and largest over the steps. Where norms are of the gradients in the parameters, both go
    through the same layers, so that this is near 1, and no constant.
    """

    value: float
    lowest: float
    highest: float
    steps: int


@dataclass(frozen=True)
class Part:
    """The first, the last or every k-th rows of a batch. share: of all rows; ratio: measured norm over theirs."""

    text: str
    share: float
    ratio: Ratio


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


def one_beside_the_other(measured: Array, expected: Array) -> Beside | None:
    """Of two columns of quotients of norms, NaN where unknown; None where too few steps are left."""
    known = np.isfinite(measured) & np.isfinite(expected) & (expected > 0) & (measured > 0)
    if known.sum() < MIN_STEPS_SEARCHED:
        return None
    each = measured[known] / expected[known]
    return Beside(float(np.median(each)), float(each.min()), float(each.max()), len(each))


def part_of_rows(measured: Array, squares: Array) -> Part | None:
    """The part of the rows whose gradient the measured norm is, up to one constant; the one that fits best, or None.

    measured: [steps] norms, NaN where unknown. squares: [steps, rows] squared norms of what each row adds.
    """
    known = np.isfinite(measured) & np.isfinite(squares).all(axis=1) & (measured > 0)
    measured, squares = measured[known], squares[known]
    rows = squares.shape[1]
    if len(measured) < MIN_STEPS_SEARCHED or rows < MIN_STEPS:
        return None
    found: list[tuple[float, str, float, Array]] = []
    forward, backward = np.cumsum(squares, axis=1), np.cumsum(squares[:, ::-1], axis=1)
    for size in range(1, rows):
        for text, sums in (("first", forward), ("last", backward)):
            found.append(_candidate(measured, sums[:, size - 1], f"the {text} {size} of {rows} rows", size / rows))
    for step in range(2, rows // 2 + 1):
        for start in range(min(step, MOST_DEVICES)):
            sums = squares[:, start::step].sum(axis=1)
            found.append(_candidate(measured, sums, f"one in {step} of the rows", 1 / step))
    spread, text, share, expected = min(found, key=lambda item: item[0])
    if not spread <= CONSTANT:
        return None
    fitted = ratio(measured, expected)
    return None if fitted is None else Part(text, share, fitted)


def _candidate(measured: Array, squares: Array, text: str, share: float) -> tuple[float, str, float, Array]:
    expected = np.sqrt(squares)
    if not (expected > 0).all():
        return float("inf"), text, share, expected
    each = measured / expected
    return float(np.ptp(each) / np.median(each)), text, share, expected
