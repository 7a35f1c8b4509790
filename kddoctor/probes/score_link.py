"""On which scale the scores that a ranking loss compared were: the teacher's own, rescaled ones, or another unit."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_fit import fit_constants

Array = NDArray[np.float64]

#: Rows that a line or an order is read from.
ENOUGH_ROWS = 30
#: Rows of a step whose order is no accident.
FEWEST_IN_STEP = 8


@dataclass(frozen=True)
class ScoreLink:
    """The scores that the loss got, against the teacher's own answer to the same input (a second pass).

    rows: compared. slope, intercept, unexplained: of the least-squares line used ≈ intercept + slope · own, with
    ``unexplained`` the share of variance that it leaves. monotone: used scores are a strictly rising function of own
    ones; stepped: a rising one of three values or more, several own scores to a value. kept: share of rows whose used
    score is the teacher's own; filled: share of the others that hold their most frequent value. low, high: range of
    the used scores; own_low, own_high: of the teacher's. mixed_units: mean squares of which both sides have units of
    their own and which equal the recorded distillation loss, up to a constant, with the largest relative error
    ``mixed_error`` over the steps; None where none was found. ordered: within every step, used scores are a strictly
    rising function of own ones.
    """

    rows: int
    slope: float
    intercept: float
    unexplained: float
    monotone: bool
    low: float
    high: float
    own_low: float
    own_high: float
    mixed_units: str | None = None
    mixed_error: float | None = None
    stepped: bool = False
    kept: float = 0.0
    filled: float = 0.0
    ordered: bool = False


def link_of(used: NDArray[np.floating], own: NDArray[np.floating]) -> ScoreLink | None:
    """Compare scores [n] with the teacher's own [n]; None for too few rows, or a constant teacher."""
    y, x = np.asarray(used, np.float64), np.asarray(own, np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < ENOUGH_ROWS or x.std() == 0:
        return None
    centred = x - x.mean()
    slope = float((centred * (y - y.mean())).sum() / (centred**2).sum())
    intercept = float(y.mean() - slope * x.mean())
    rest = y - intercept - slope * x
    unexplained = float((rest**2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-300))
    order = np.argsort(x, kind="stable")
    apart = np.diff(x[order]) > 1e-5 * np.abs(x).max()
    steps = np.diff(y[order])
    # Rounding may exchange neighbours that differ by less than it.
    rising = bool((steps[apart] > -1e-6 * max(float(np.abs(y).max()), 1e-9)).all())
    monotone = rising and bool((steps[apart] > 0).mean() > 0.99)
    stepped = rising and not monotone and len(np.unique(y)) > 2
    ends = (float(y.min()), float(y.max()), float(x.min()), float(x.max()))
    kept, filled = _replaced(x, y)
    link = ScoreLink(len(x), slope, intercept, unexplained, monotone, *ends)
    return replace(link, stepped=stepped, kept=kept, filled=filled)


def ordered_in_steps(used: Array, own: Array) -> bool:
    """Whether in every step [K, B] whoever has the higher score of its own has the higher one in the loss.

    Steps that are not finite were not scored a second time.
    """
    finite = np.isfinite(used).all(axis=1) & np.isfinite(own).all(axis=1)
    used, own = used[finite], own[finite]
    if not len(used) or used.shape[1] < FEWEST_IN_STEP:
        return False
    order = np.argsort(own, axis=1, kind="stable")
    own, used = (np.take_along_axis(a, order, axis=1) for a in (own, used))
    apart = np.diff(own, axis=1) > 1e-5 * np.abs(own).max()
    return bool(apart.any() and (np.diff(used, axis=1)[apart] > 0).all())


def _replaced(own: Array, used: Array) -> tuple[float, float]:
    same = np.isclose(used, own, rtol=1e-5, atol=1e-6)
    others = used[~same]
    most = float(np.unique(others, return_counts=True)[1].max() / len(others)) if len(others) else 0.0
    return float(same.mean()), most


def mixed_units(student: Array, teacher: Array, kd_loss: Array) -> tuple[str, float] | None:
    """The mean square over units that do not meet which equals the recorded loss best.

    student, teacher: [steps, B] raw scores. kd_loss: [steps].
    """

    def squash(z: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-np.clip(z, -700, 700))))

    forms = {
        "the student's raw score against the teacher's probability": student - squash(teacher),
        "the student's probability against the teacher's raw score": squash(student) - teacher,
        "the student's raw score against the teacher's score in [-1, 1]": student - np.tanh(teacher),
    }
    values = np.stack([(d**2).mean(axis=1) for d in forms.values()])
    fits = fit_constants(kd_loss, values, values)
    errors = np.where(fits.factors > 0, fits.worst, np.inf)
    best = int(errors.argmin())
    return (list(forms)[best], float(errors[best])) if np.isfinite(errors[best]) else None
