"""Does the recorded loss come from a few classes of each row alone, such as the teacher's k most probable ones?

Each way to shorten a teacher has a closed form. With the classes sorted by the teacher's logits, p and q the two
softmaxes at temperature T over all classes, P and Q their sums over the first k:

    renormalised   KL(p/P ‖ q)       = 1/P Σ_k p (log p − log q) − log P
    both           KL(p/P ‖ q/Q)     = the above + log Q
    tail ignored   Σ_k p (log p − log q), as it is or each row clamped at zero
    cross-entropy  −Σ_k p log q, as it is or divided by P
    zero-filled    KL(softmax(z'/T) ‖ q), where z' is z for the first k and 0 elsewhere
    least-filled   the same with the k-th logit in the place of 0
    tail spread    KL(p' ‖ q), where each of the other C − k classes has p' = (1 − P) / (C − k)
    tail bucket    KL of (p_1 … p_k, 1 − P) and (q_1 … q_k, 1 − Q), which is a sound bound of the whole

so cumulative sums give every k at once. The same holds of classes in any other order: by the student's logits, or as
they stand in the list. k is the same for all rows, or hangs on the row: as many classes as hold a
share of its probability, or as are likely enough.

Source of the tail bucket: log-sum inequality, Cover and Thomas, theorem 2.7.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_fit import fit_constants, fit_mixes

Array = NDArray[np.float64]

FORMS = (
    "renormalised",
    "renormalised on both sides",
    "tail ignored",
    "tail ignored, clamped at zero",
    "cross-entropy, tail ignored",
    "cross-entropy, renormalised",
    "zero-filled",
    "least-filled",
    "tail spread evenly",
    "cross-entropy, tail spread evenly",
    "tail bucket",
)
#: Who puts the classes in order: either model by its logits, or their places in the list.
Chooser = Literal["teacher", "student", "list"]
OWNERS: dict[Chooser, str] = {"teacher": "the teacher's", "student": "the student's", "list": "the list's"}
#: Forms that are no bias: what is left out is counted in one sum.
SOUND_FORMS = ("tail bucket",)
#: Longest list of classes that is searched; every k up to so many, then the powers of two and their halves.
LONGEST, EVERY = 2048, 128
#: Shares of the probability, and least probabilities (by themselves, and as parts of the largest), that are tried.
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
LEAST = (1e-4, 1e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2)
PARTS = (1e-3, 0.01, 0.05, 0.1, 0.2, 0.5)
#: Elements of a block in float64.
BLOCK_ELEMENTS = 1_000_000
#: Steps from which one constant, and two weights, are identified.
MIN_STEPS, MIN_STEPS_TOTAL_ONLY = 3, 6
#: Largest value of a form over the cross-entropy of the same classes, below which it is rounding.
SMALLEST = 1e-6
#: Errors below this are rounding and not compared any further.
ROUNDING = 2e-6


@dataclass(frozen=True)
class Truncation:
    """The shortened teacher that reproduces the recorded losses best.

    form: of ``FORMS``. k: classes kept of ``classes`` (their mean where it differs by row). kept: the same in words.
    temperature: T. factor: what multiplies its mean over rows. error: largest relative error over ``steps`` steps.
    whole_error: that of the whole teacher (k = classes) in the same form and at any temperature searched. kept_mass:
    mean probability that the teacher gives the k classes at that temperature. negative_rows: share of rows whose sum
    over the k classes is below zero. chooser: whose order they are the first in.
    """

    form: str
    k: int
    classes: int
    temperature: float
    factor: float
    error: float
    whole_error: float
    kept_mass: float
    negative_rows: float
    steps: int
    kept: str
    chooser: Chooser = "teacher"


class TruncatedTeacherProbe:
    """Accumulates steps; ``compute`` searches forms, k and temperatures for an identity."""

    def __init__(self, num_classes: int, temperatures: Sequence[float], chooser: Chooser = "teacher") -> None:
        self.classes, self.chooser = num_classes, chooser
        self.temperatures = tuple(temperatures)
        self.counts = tuple(k for k in _counts(num_classes) if k < num_classes)
        # Rows of different lengths are read from sums over every k.
        every = self.counts == tuple(range(1, num_classes)) and chooser == "teacher"
        self.cuts: tuple[_Cut, ...] = _cuts() if every else ()
        self._values: list[Array] = []
        self._mass: list[Array] = []
        self._negative: list[Array] = []
        self._lengths: list[Array] = []
        self._losses: list[tuple[float, float | None, float | None]] = []

    def update(
        self,
        student_logits: NDArray[np.floating],
        teacher_logits: NDArray[np.floating],
        loss: float,
        kd_loss: float | None,
        ce_loss: float | None,
    ) -> None:
        """Add one step: logits [n, C] of the rows that count, and its recorded losses."""
        rows = len(student_logits)
        columns = len(self.counts) + len(self.cuts) + 1
        values = np.zeros((len(self.temperatures), len(FORMS), columns))
        mass = np.zeros((len(self.temperatures), columns))
        negative = np.zeros_like(mass)
        lengths = np.zeros((len(self.temperatures), len(self.cuts)))
        size = max(1, BLOCK_ELEMENTS // self.classes)
        for start in range(0, rows, size):
            block = slice(start, start + size)
            student = np.asarray(student_logits[block], np.float64)
            teacher = np.asarray(teacher_logits[block], np.float64)
            order = self._order(student, teacher)
            for i, temperature in enumerate(self.temperatures):
                found = _sums(student / temperature, teacher / temperature, temperature, order, self.counts, self.cuts)
                values[i] += found[0]
                mass[i] += found[1]
                negative[i] += found[2]
                lengths[i] += found[3]
        self._values.append(values / rows)
        self._mass.append(mass / rows)
        self._negative.append(negative / rows)
        self._lengths.append(lengths / rows)
        self._losses.append((loss, kd_loss, ce_loss))

    def _order(self, student: Array, teacher: Array) -> NDArray[np.int64]:
        longest = max(self.counts, default=1)
        if self.chooser == "list":
            return np.broadcast_to(np.arange(longest), (len(teacher), longest))
        return _best(teacher if self.chooser == "teacher" else student, longest)

    def merge(self, other: "TruncatedTeacherProbe") -> None:
        """Add another worker's steps."""
        self._values += other._values
        self._mass += other._mass
        self._negative += other._negative
        self._lengths += other._lengths
        self._losses += other._losses

    def compute(self) -> Truncation | None:
        """The best fit; None where too few steps hold what is needed."""
        kd = _column([losses[1] for losses in self._losses])
        ce = _column([losses[2] for losses in self._losses])
        if not self.counts or len(self._losses) < MIN_STEPS or (kd is not None and np.abs(kd).max() == 0):
            return None
        # [T · forms · k, steps]
        table = np.stack(self._values, axis=-1)
        flat = table.reshape(-1, table.shape[-1])
        if kd is not None:
            # A divergence is a difference of numbers as large as its cross-entropy, which rounding is relative to.
            size = np.broadcast_to(table[:, [FORMS.index("cross-entropy, tail ignored")]], table.shape)
            fits = fit_constants(kd, flat, np.abs(size).reshape(flat.shape))
            # Errors above are relative to what was subtracted; the sum has to follow the recorded loss as well.
            rest = np.abs(kd - fits.factors[:, None] * flat).max(axis=1) / np.abs(kd).max()
            errors, factors = np.maximum(fits.worst, rest), fits.factors
        elif ce is not None and len(self._losses) >= MIN_STEPS_TOTAL_ONLY:
            total = np.array([losses[0] for losses in self._losses])
            mixes = fit_mixes(total, "kd", flat, {"ce": ce})
            errors, factors = mixes.worst, mixes.weights[:, 0]
        else:
            return None
        errors, factors = errors.reshape(table.shape[:-1]), factors.reshape(table.shape[:-1])
        # A negative multiple of a divergence is no loss that anyone minimises; and a value that is rounding, as the
        # divergence of a single class from itself is, can be multiplied into anything.
        scale = np.abs(table[:, [FORMS.index("cross-entropy, tail ignored")]]).max(axis=-1)
        something = np.abs(table).max(axis=-1) > SMALLEST * scale
        errors = np.where((factors > 0) & something, errors, np.inf)
        whole = float(errors[:, :, -1].min())
        # Where several fit as well, as at nearly equal T, the longest list is the smallest claim.
        best = float(errors[:, :, :-1].min())
        if not np.isfinite(best):
            return None
        close = errors[:, :, :-1] <= max(best * 2, ROUNDING)
        fixed = len(self.counts)
        # One k for all rows before any that hangs on the row.
        i, f, k = max(zip(*np.nonzero(close), strict=True), key=lambda at: (at[2] < fixed, at[2], -errors[at]))
        number = self.counts[k] if k < fixed else round(float(np.mean([c[i, k - fixed] for c in self._lengths])))
        return Truncation(
            form=FORMS[f],
            k=number,
            classes=self.classes,
            temperature=self.temperatures[i],
            factor=float(factors[i, f, k]),
            error=float(errors[i, f, k]),
            whole_error=whole,
            kept_mass=float(np.mean([mass[i, k] for mass in self._mass])),
            negative_rows=float(np.mean([share[i, k] for share in self._negative])),
            steps=len(self._losses),
            chooser=self.chooser,
            kept=f"first {number} of {self.classes} classes" if k < fixed else self.cuts[k - fixed].text,
        )


@dataclass(frozen=True)
class _Cut:
    """How many classes of a row are kept. kind: while what came before holds less than a share; while all that is kept
    holds no more; while a class has so much probability; or so large a part of the likeliest one's. softened: of the
    probabilities at the loss's temperature, not at 1.
    """

    kind: Literal["share", "within", "least", "part"]
    value: float
    softened: bool

    @property
    def text(self) -> str:
        at = "" if self.softened else " at T = 1"
        if self.kind in ("share", "within"):
            return f"likeliest classes up to a share of {self.value:g}{at}"
        of = "" if self.kind == "least" else " of the likeliest one's"
        return f"classes of probability {self.value:g}{of} or more{at}"

    def lengths(self, p: Array) -> NDArray[np.int64]:
        """[n] from probabilities that fall along the row, [n, C]: 1 at least, C at most."""
        total = np.cumsum(p, axis=1)
        kept = {
            "share": lambda: total - p < self.value,
            "within": lambda: total <= self.value,
            "least": lambda: p >= self.value,
            "part": lambda: p >= self.value * p[:, :1],
        }[self.kind]()
        return np.asarray(np.maximum(kept.sum(axis=1), 1), np.int64)


def _cuts() -> tuple[_Cut, ...]:
    kinds: tuple[tuple[Literal["share", "within", "least", "part"], tuple[float, ...]], ...] = (
        ("share", SHARES),
        ("within", SHARES),
        ("least", LEAST),
        ("part", PARTS),
    )
    return tuple(
        _Cut(kind, value, softened) for softened in (True, False) for kind, values in kinds for value in values
    )


def _counts(classes: int) -> list[int]:
    every = list(range(1, min(classes, EVERY) + 1))
    powers = [2**e for e in range(7, 12)]
    return sorted({*every, *(k for p in powers for k in (p, p + p // 2, 25 * p // 32) if k <= min(classes, LONGEST))})


def _best(logits: Array, longest: int) -> NDArray[np.int64]:
    """[n, longest] classes by falling logit, of one model [n, C]."""
    if longest < logits.shape[1] - 1:
        some = np.argpartition(-logits, longest - 1, axis=1)[:, :longest]
        within = np.argsort(-np.take_along_axis(logits, some, 1), axis=1, kind="stable")
        return np.take_along_axis(some, within, 1)
    return np.argsort(-logits, axis=1, kind="stable")[:, :longest]


def _log_sum(z: Array) -> Array:
    top = z.max(axis=1, keepdims=True)
    return np.asarray(top + np.log(np.exp(z - top).sum(axis=1, keepdims=True)))


def _sums(
    student: Array,
    teacher: Array,
    temperature: float,
    order: NDArray[np.int64],
    counts: Sequence[int],
    cuts: Sequence[_Cut],
) -> tuple[Array, Array, Array, Array]:
    """Sums over rows: values [forms, k + cuts + 1], kept mass and rows below zero [k + cuts + 1], classes kept [cuts].

    The last column is all classes.
    """
    log_p_all, log_q_all = teacher - _log_sum(teacher), student - _log_sum(student)
    at = np.array(counts) - 1
    log_p, log_q = (np.take_along_axis(a, order, 1) for a in (log_p_all, log_q_all))
    p = np.exp(log_p)
    whole = np.exp(log_p_all)

    def kept(values: Array, everything: Array) -> Array:
        """Sums over the first k, and over all."""
        total = everything.sum(axis=1, keepdims=True)
        return np.concatenate([np.cumsum(values, axis=1)[:, at], total], axis=1)

    mass = np.minimum(kept(p, whole), 1.0)
    student_mass = np.minimum(kept(np.exp(log_q), np.exp(log_q_all)), 1.0)
    divergence = kept(p * (log_p - log_q), whole * (log_p_all - log_q_all))
    cross = kept(-p * log_q, -whole * log_q_all)
    renormalised = divergence / mass - np.log(mass)
    z = np.take_along_axis(teacher, order, 1)
    filled = _filled(teacher, log_q_all, z, log_q, at, np.zeros_like(z[:, at]))
    least = _filled(teacher, log_q_all, z, log_q, at, z[:, at])
    rest, student_rest = np.maximum(1 - mass, 0), np.maximum(1 - student_mass, 1e-300)
    spread = _spread(rest, log_q_all, log_q, at)
    bucket = divergence + np.where(rest > 0, rest * (np.log(np.maximum(rest, 1e-300)) - np.log(student_rest)), 0)
    values = (
        renormalised,
        renormalised + np.log(student_mass),
        divergence,
        np.maximum(divergence, 0),
        cross,
        cross / mass,
        filled,
        least,
        divergence + _entropy_of_tail(rest, student.shape[1], at) + spread,
        cross + spread,
        bucket,
    )
    taken = np.zeros((len(student), 0), np.int64)
    if cuts:
        undivided = np.sort(np.exp(temperature * log_p_all - _log_sum(temperature * log_p_all)), axis=1)[:, ::-1]
        softened = np.sort(whole, axis=1)[:, ::-1]
        taken = np.stack([cut.lengths(softened if cut.softened else undivided) for cut in cuts], axis=1)

    def summed(each: Array) -> Array:
        # Where all classes are kept, the last column is what is meant.
        columns = np.concatenate([each[:, :-1], np.take_along_axis(each, taken - 1, 1), each[:, -1:]], axis=1)
        return np.asarray(columns.sum(axis=0))

    negative = summed((divergence < 0).astype(np.float64))
    return np.stack([summed(v) for v in values]), summed(mass), negative, taken.sum(axis=0).astype(np.float64)


def _spread(rest: Array, log_q_all: Array, log_q: Array, at: NDArray[np.int64]) -> Array:
    """Cross-entropy of what is left of one, [n, k + 1], where all classes but the first k share it alike."""
    left = log_q_all.shape[1] - (at + 1)
    outside = log_q_all.sum(axis=1, keepdims=True) - np.cumsum(log_q, axis=1)[:, at]
    spread = np.zeros_like(rest)
    spread[:, :-1] = -rest[:, :-1] / left * outside
    return spread


def _entropy_of_tail(rest: Array, classes: int, at: NDArray[np.int64]) -> Array:
    """What is left of one times the log of each class's share of it, [n, k + 1]; nothing where all are kept."""
    found = np.zeros_like(rest)
    tail = rest[:, :-1]
    found[:, :-1] = tail * (np.log(np.maximum(tail, 1e-300)) - np.log(classes - (at + 1)))
    return found


def _filled(teacher: Array, log_q_all: Array, z: Array, log_q: Array, at: NDArray[np.int64], others: Array) -> Array:
    """KL(softmax of z with another number, [n, k], for all but the first k ‖ q), [n, k + 1]."""
    classes = teacher.shape[1]
    shift = np.maximum(teacher.max(axis=1, keepdims=True), 0)  # of zero and the largest
    weight = np.exp(z - shift)
    other = np.exp(others - shift)
    left = classes - (at + 1)
    partition = np.cumsum(weight, axis=1)[:, at] + left * other
    log_partition = np.log(partition) + shift
    inside = np.cumsum(weight * (z - log_q), axis=1)[:, at]
    outside = log_q_all.sum(axis=1, keepdims=True) - np.cumsum(log_q, axis=1)[:, at]
    short = (inside + other * (left * others - outside)) / partition - log_partition
    all_weight = np.exp(teacher - shift)
    total = all_weight.sum(axis=1, keepdims=True)
    full = (all_weight * (teacher - log_q_all)).sum(axis=1, keepdims=True) / total - np.log(total) - shift
    return np.concatenate([short, full], axis=1)


def _column(values: Sequence[float | None]) -> Array | None:
    numbers = np.array([np.nan if value is None else value for value in values])
    return numbers if len(numbers) and np.isfinite(numbers).all() else None
