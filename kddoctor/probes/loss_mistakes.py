"""Which of the formulas that are known as mistakes reproduces every recorded distillation loss.

An identity like those of ``loss_forensics``: one constant, the same on every step, up to numerical noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_fit import CANCELLATION, fit_constants
from kddoctor.probes.loss_sides import pairs
from kddoctor.probes.loss_sums import row_blocks
from kddoctor.probes.mistaken_forms import (
    CHUNKS,
    PADS,
    ROW_WEIGHTS,
    StepRows,
    divergences,
    jensen_shannon,
    log_partition,
    padded,
    values_by_batch,
    values_by_chunk,
    values_by_position,
    values_by_row,
    values_by_weight,
)
from kddoctor.probes.mistaken_masks import values_by_mask
from kddoctor.probes.one_sided_losses import one_sided, text_of

Array = NDArray[np.float64]

#: Distances that are named by what they are.
OTHER_DISTANCES = (
    "squared error of log-probabilities",
    "absolute error of log-probabilities",
    "absolute error of logits",
    "absolute error of probabilities",
    "smooth absolute error of logits",
    "distance of Hellinger",
    "length of the difference of logits",
    "length of the difference of probabilities",
)
#: (code, what it is, whether a parameter was searched for). {} stands for the parameter.
FORMS: dict[str, tuple[str, str, bool]] = {
    "teacher-entropy": ("KD209", "the cross-entropy of the teacher with itself", False),
    "student-entropy": ("KD209", "the cross-entropy of the student with itself", False),
    "labels": ("KD209", "the student's cross-entropy with the labels", False),
    "labels-as-logits": ("KD209", "the divergence from a softmax of one-hot labels", False),
    "own top class": ("KD209", "the student's cross-entropy with its own top class", False),
    "even targets": ("KD209", "the divergence from targets that are the same for every class", False),
    "even targets, cross-entropy": ("KD209", "the cross-entropy with targets that are the same for every class", False),
    "even targets, reverse": ("KD209", "the divergence to targets that are the same for every class", False),
    "zero targets, squared error": ("KD209", "the squared size of the student's own logits", False),
    **{
        f"input {given}": ("KD203", f"kl_div with {given} of the student where log q belongs", False)
        for given in ("logits", "log(1 + q)", "log sigmoid", "log2 q", "log10 q")
    },
    **{
        f"input {given}, cross-entropy": (
            "KD203",
            f"the cross-entropy with {given} of the student where log q belongs",
            False,
        )
        for given in ("logits", "log(1 + q)", "log sigmoid")
    },
    "input q, cross-entropy": ("KD203", "the cross-entropy with q of the student where log q belongs", False),
    "neither logged": ("KD203", "kl_div with log_target of two sides of which neither was logged", False),
    "target logits": ("KD203", "kl_div with log_target and the teacher's logits where log p belongs", False),
    "signs": ("KD214", "a function of the signs of both logits alone", False),
    "both over the batch": ("KD206", "the divergence of softmaxes over the rows of the batch", False),
    "targets over the batch": ("KD206", "the divergence with a softmax of the targets over the batch", False),
    "answers over the batch": ("KD206", "the divergence with a softmax of the student over the batch", False),
    "rows cut across classes": ("KD206", "the divergence of rows that were cut across classes", False),
    "columns cut across rows": ("KD206", "the divergence of classes that were cut across rows", False),
    "both over everything": ("KD206", "the divergence of softmaxes over all rows and classes at once", False),
    "targets over everything": ("KD206", "the divergence with a softmax of the targets over all rows at once", False),
    "answers over everything": ("KD206", "the divergence with a softmax of the student over all rows at once", False),
    "over chunks of rows": ("KD206", "the divergence of softmaxes over {} rows of the batch at a time", True),
    **{
        f"{side} softened again{where}": ("KD205", f"the divergence with a softmax of {what} softened already", False)
        for side, what in (
            ("targets", "targets that were"),
            ("answers", "the student's probabilities, which were"),
            ("both", "probabilities on both sides that were"),
        )
        for where in ("", ", at 1")
    },
    **{
        f"{name}{where}": ("KD214", text, False)
        for name, text in (
            ("scores as probabilities", "the cross-entropy of yes and no with the teacher's scores for probabilities"),
            (
                "scores clamped to probabilities",
                "the cross-entropy of yes and no with the teacher's scores, clamped, for probabilities",
            ),
            ("probabilities regressed on scores", "the squared error of the student's probability and a score"),
            ("scores regressed on probabilities", "the squared error of the student's score and a probability"),
            (
                "undivided scores regressed on probabilities",
                "the squared error of the student's score and a probability",
            ),
        )
        for where in ("", ", undivided")
    },
    "both over the batch, every position": ("KD206", "the divergence of softmaxes over the sequences", False),
    "both over the positions": ("KD206", "the divergence of softmaxes over the positions", False),
    "overlap": ("KD214", "one minus the overlap (Dice) of both models' probabilities in the whole batch", False),
    "overlap of squares": ("KD214", "one minus the overlap (Dice, of squares) of both models' probabilities", False),
    "intersection over union": ("KD214", "one minus intersection over union of both models' probabilities", False),
    "yes-without-no": ("KD214", "the divergence of the yes alone, without that of the no", False),
    "yes-without-no, cross-entropy": ("KD214", "the cross-entropy of the yes alone, without that of the no", False),
    "softmax over labels": ("KD214", "the divergence of softmaxes over labels that do not exclude one another", False),
    **{
        f"{side} from sigmoids": ("KD205", f"the divergence with a softmax of sigmoids {where}", False)
        for side, where in (
            ("targets", "on the teacher's side"),
            ("answers", "on the student's side"),
            ("both", "on both sides"),
        )
    },
    **{
        name: ("KD211", text, False)
        for name, text in (
            ("both directions", "the divergence in both directions"),
            *((name, f"the {name}") for name in OTHER_DISTANCES),
            ("cosine of logits", "one minus the cosine of the logits"),
            ("cosine of probabilities", "one minus the cosine of the probabilities"),
            ("correlation of logits", "one minus the correlation of the logits"),
            ("correlation of probabilities", "one minus the correlation of the probabilities"),
            (
                "answers divided after the logarithm",
                "the divergence with a temperature that divides the student's log-probabilities",
            ),
            *(
                (f"weighted by {one_minus}{weight}{over}", f"the divergence weighted by {one_minus}{weight}{over}")
                for weight in ROW_WEIGHTS
                for one_minus in ("", "one minus ")
                for over in ("", ", over the weights")
            ),
            *(
                (
                    f"yes or no, {theirs} and {ours}{form}",
                    f"{what} of a yes or no for each class, from {theirs} of the teacher and {ours} of the student",
                )
                for theirs in ("sigmoids", "sigmoids at 1", "softmax", "softmax at 1")
                for ours in ("sigmoids", "sigmoids at 1", "softmax")
                for form, what in (("", "the divergence"), (", cross-entropy", "the cross-entropy"))
            ),
            ("rows that the teacher has right", "the divergence over the rows that the teacher has right"),
            (
                "rows that the teacher has right, over all",
                "the divergence of the rows that the teacher has right, over the number of all rows",
            ),
        )
    },
    "every position": ("KD801", "the mean over every position", False),
    "every position, over those that count": ("KD801", "every position, over the number of those that count", False),
    "those that count, over every position": ("KD801", "those that count, over the number of all positions", False),
    "from position": ("KD801", "the mean over the positions from number {} on", True),
    "up to position": ("KD801", "the mean over the positions before number {}", True),
    "before token": ("KD801", "the mean over the positions whose token has a number below {}", True),
    "from token": ("KD801", "the mean over the positions whose token has the number {} or a higher one", True),
    "all but token": ("KD801", "the mean over the positions whose token is any but number {}", True),
    "rows with little padding": ("KD801", "the mean over the rows with at most {} positions of padding", True),
    "rows with much padding": ("KD801", "the mean over the rows with more than {} positions of padding", True),
    "padding alone": ("KD801", "the mean over the positions that do not count", False),
    "mask late by": ("KD801", "the mean over the positions that count, each taken {} places too late", True),
    "mask early by": ("KD801", "the mean over the positions that count, each taken {} places too early", True),
    "teacher one position ahead": ("KD803", "the divergence from the teacher's next position", False),
    "teacher one position ahead, by its labels": ("KD803", "the divergence from the teacher's next position", False),
    "teacher one position behind": ("KD803", "the divergence from the teacher's previous position", False),
    "teacher one position behind, by its labels": (
        "KD803",
        "the divergence from the teacher's previous position",
        False,
    ),
    "cropped": ("KD804", "the divergence over the first {} tokens alone", True),
    "first tokens, unnormalised": ("KD804", "the divergence summed over the first {} tokens alone", True),
    "rest on the last token": ("KD804", "the divergence from the first {} tokens, the last with all the rest", True),
    "padded": ("KD804", "the divergence with {} further logits of zero on both sides", True),
    "top-k renormalised": ("KD306", "the divergence from the teacher's {} likeliest classes, renormalised", True),
    "top-k, tail ignored": ("KD306", "the divergence summed over the teacher's {} likeliest classes alone", True),
    "top-k, tail ignored, clamped": (
        "KD306",
        "the divergence summed over the teacher's {} likeliest classes alone, clamped at 0",
        True,
    ),
    "top-k scattered into zeros": ("KD306", "the divergence from the teacher's {} top logits among zeros", True),
}
#: Smallest parameter of the forms that do not start at 1.
FIRST_PARAMETER = {
    "cropped": 2,
    "first tokens, unnormalised": 2,
    "rest on the last token": 2,
    "all but token": 0,
    "rows with little padding": 0,
    "rows with much padding": 0,
}
#: Steps from which a constant is identified, and a constant and a parameter.
MIN_STEPS, MIN_STEPS_SCANNED = 5, 6
#: Share of a form's range that rounding may be.
STRICT = 1e-3
#: Twice the constants of a form with four.
MIN_STEPS_SIGNS = 8
#: A worse fit than this many times the best one does not compete with it; below ROUNDING nothing is compared.
DISTINGUISHABLE, ROUNDING = 20.0, 2e-6
#: Weights of the teacher in a Jensen-Shannon mixture that are searched: up to ENDS from either end.
ENDS = 0.0501
#: Smallest of those weights, steps that a search looks at, and an error from which no finer search helps.
SMALLEST, SEARCH_STEPS, HOPELESS = 1e-7, 5, 2.0
#: Share of its largest value that a Jensen-Shannon divergence may gain between two weights that are looked at.
BETWEEN = 1e-3
#: Size of a divergence of equals in float32, relative to the entropies whose difference it is.
ROUNDED = 3e-6
#: A zero is told from a small term when the divergence that was meant is this many times larger.
VISIBLE = 100.0


@dataclass(frozen=True)
class Mistake:
    """recorded = factor × formula at this temperature on every step, up to the relative error.

    factor: None where the formula holds several constants of its own. wrong: in how many ways it is, 0 where nobody
    counted.
    """

    code: str
    name: str
    text: str
    error: float
    factor: float | None
    temperature: float
    parameter: float | None = None
    wrong: int = 0


@dataclass(frozen=True)
class Astray:
    """An unexplained term beside T² times the divergence between teacher and student.

    follows: their rank correlation over the steps. most: the term's largest share of it on any step.
    """

    follows: float
    most: float


@dataclass(frozen=True)
class LossMistakes:
    """What was found among the formulas that are mistakes.

    searched: whether there was anything to explain. found: the simplest one first, one a code. zero: the recorded term
    is 0 on every step, exactly or up to rounding, although the divergence that was declared is not. divergence:
    the mean of the one that was meant, nats. labels_are_tops: the teacher's top class is the label on every row.
    nearly_an_end: where no weight of a Jensen-Shannon divergence explains all steps, the median over steps of the
    distance from an end that explains a single one; None where no weight explains some step, or none was meant. astray:
    how an unexplained term goes with the divergence that was meant; None where it is explained. still: whether a term
    that is exactly 0 has a gradient of exactly 0 wherever that was seen; None where it was not.
    """

    steps: int
    tolerance: float
    searched: bool
    found: tuple[Mistake, ...]
    zero: Literal["exact", "rounding"] | None
    largest: float
    divergence: float
    labels_are_tops: bool
    nearly_an_end: float | None = None
    astray: "Astray | None" = None
    still: bool | None = None

    def of(self, code: str) -> Mistake | None:
        """What was found of a code, None where another one explains the record."""
        return next((m for m in self.found[:1] if m.code == code), None)


def search_mistakes(
    steps: Sequence[StepRows],
    recorded: Array,
    *,
    temperatures: Sequence[float],
    tolerance: float,
    jsd_factors: Sequence[float] = (),
    jsd_meant: bool = False,
) -> LossMistakes:
    """Search them all. recorded: [steps] the distillation term. temperatures: the declared one first.

    jsd_factors: what may multiply a Jensen-Shannon divergence, the declared factor first; empty where none is searched
    for. jsd_meant: it is the declared loss.
    """
    first = temperatures[0]
    meant = np.array([_mean_divergence(rows, first) for rows in steps])
    zero = _zero(steps, recorded, meant, first)
    tops = all(_tops(rows) for rows in steps)
    found: list[Mistake] = []
    largest = float(np.abs(recorded).max())
    spread = float(np.ptp(recorded) / max(largest, 1e-12))
    if zero is None and len(steps) >= MIN_STEPS and spread > DISTINGUISHABLE * tolerance:
        if jsd_factors:
            found += _vanishing(steps, recorded, first, jsd_factors, tolerance)
        found += _of_signs(steps, recorded, tolerance)
        for t in temperatures:
            found += _of_temperature(steps, recorded, t, tolerance) if not found else []
        for t in temperatures:
            found += _of_pairs(steps, recorded, t, tolerance) if not found else []
        found += _one_sided(steps, recorded, temperatures, tolerance) if not found else []
    near = None
    if zero is None and jsd_meant and jsd_factors and not found:
        near = _nearly_an_end(steps, recorded / jsd_factors[0], first)
    astray = _astray(recorded, meant * max(1.0, first**2)) if zero is None and not found else None
    divergence = float(meant.mean())
    return LossMistakes(len(steps), tolerance, True, _sorted(found), zero, largest, divergence, tops, near, astray)


def _astray(recorded: Array, meant: Array) -> Astray | None:
    if len(recorded) < MIN_STEPS_SIGNS or not (meant > 0).all() or not np.ptp(recorded):
        return None
    ours, theirs = (np.argsort(np.argsort(x)) - (len(x) - 1) / 2 for x in (recorded, meant))
    return Astray(float((ours * theirs).sum() / (ours**2).sum()), float(np.abs(recorded / meant).max()))


def _nearly_an_end(steps: Sequence[StepRows], recorded: Array, t: float) -> float | None:
    """The median over the steps of the smallest beta, or 1 − beta, that gives the recorded value there."""
    distances = np.concatenate([np.geomspace(SMALLEST, ENDS, 40), np.linspace(ENDS, 0.5, 20)[1:]])
    needed = []
    for rows, value in zip(steps, recorded, strict=True):
        if value <= 0:
            return None
        below, above = (jensen_shannon(rows, t, betas) for betas in (distances, 1 - distances))
        # The larger of both ends needs the smaller distance.
        largest = np.maximum(below, above)
        if value > (1 + BETWEEN) * largest.max():
            return None
        needed.append(float(distances[np.argmax(largest >= min(value, largest.max()))]))
    return float(np.median(needed))


def _sorted(found: Sequence[Mistake]) -> tuple[Mistake, ...]:
    """The simplest of those that fit as well as the best."""
    if not found:
        return ()
    limit = max(DISTINGUISHABLE * min(m.error for m in found), ROUNDING)
    return tuple(sorted((m for m in found if m.error <= limit), key=_cost))


def _cost(mistake: Mistake) -> int:
    # Where the teacher's top class is the label on every row, labels are labels unless a temperature softened them.
    if mistake.name == "labels" and mistake.temperature != 1:
        return 2
    # What is right by itself gives way to what never is.
    if mistake.code == "KD211":
        return 3
    return int(FORMS[mistake.name][2]) if mistake.name in FORMS else mistake.wrong


def _mean_divergence(rows: StepRows, t: float) -> float:
    total = 0.0
    for block in row_blocks(*rows.student.shape):
        keep = rows.counts[block]
        total += float(divergences(rows.teacher[block][keep] / t, rows.student[block][keep] / t).sum())
    return total / max(1, int(rows.counts.sum()))


def _zero(steps: Sequence[StepRows], recorded: Array, meant: Array, t: float) -> Literal["exact", "rounding"] | None:
    largest = float(np.abs(recorded).max())
    if float(meant.mean()) <= 0:
        return None
    if largest == 0:
        return "exact"
    # Entropies are at most log C, and the term may carry T².
    scale = max(1.0, t * t) * float(np.log(max(2, steps[0].classes)))
    small = largest <= ROUNDED * scale
    return "rounding" if small and float(meant.mean()) * max(1.0, t * t) >= VISIBLE * largest else None


def _tops(rows: StepRows) -> bool:
    keep = rows.counts & (rows.labels >= 0)
    return bool((rows.teacher[keep].argmax(axis=1) == rows.labels[keep]).all())


def _of_temperature(steps: Sequence[StepRows], recorded: Array, t: float, tolerance: float) -> list[Mistake]:
    tables: dict[str, list[Array]] = {}
    for rows in steps:
        by_name = dict(values_by_row(rows, t)) | {k: np.array([v]) for k, v in values_by_batch(rows, t)}
        by_name["over chunks of rows"] = values_by_chunk(rows, t)
        by_name |= dict(values_by_weight(rows, t))
        if rows.kind == "tokens":
            by_name |= dict(values_by_position(rows, t)) | dict(values_by_mask(rows, t))
        for name, value in by_name.items():
            tables.setdefault(name, []).append(value)
    # A scanned form at the end of its range is the plain divergence: that one goes first.
    plain = np.array([_mean_divergence(rows, t) for rows in steps])[None, :]
    sound = float(fit_constants(recorded, plain, np.zeros_like(plain)).worst[0])
    found = []
    for name, column in tables.items():
        if len(column) < len(steps) or len({len(v) for v in column}) > 1:
            continue
        code, text, scanned = FORMS[name]
        if scanned and (len(steps) < MIN_STEPS_SCANNED or sound <= tolerance):
            continue
        values = np.stack(column, axis=1)
        fits = fit_constants(recorded, values, _protection(values, steps[0].classes, tolerance) * (not scanned))
        best = int(fits.worst.argmin())
        error, factor, parameter = float(fits.worst[best]), float(fits.factors[best]), _parameter(name, best)
        if name == "padded":
            error, factor, parameter = _finer_padding(steps, recorded, t, float(parameter or 1), error, factor)
        if error > tolerance or factor <= 0 or (scanned and error * DISTINGUISHABLE > sound):
            continue
        shown = text.format("" if parameter is None else f"{parameter:.6g}")
        found.append(Mistake(code, name, shown, error, factor, t, parameter))
    return found


def _of_pairs(steps: Sequence[StepRows], recorded: Array, t: float, tolerance: float) -> list[Mistake]:
    """Divergences between things of which one is wrong at least. So many are tried that only an exact fit counts."""
    if tolerance > STRICT or len(steps) < MIN_STEPS_SCANNED:
        return []
    few = np.unique(np.linspace(0, len(steps) - 1, MIN_STEPS_SCANNED).round().astype(int))
    found: list[Mistake] = []
    for chosen in (few, np.arange(len(steps))):
        columns = [list(pairs(steps[int(i)], t)) for i in chosen]
        if not columns[0] or len({len(column) for column in columns}) > 1:
            return []
        values = np.array([[pair.value for pair in column] for column in columns]).T
        finite = np.isfinite(values).all(axis=1)
        values[~finite] = 0.0
        fits = fit_constants(recorded[chosen], values, _protection(values, steps[0].classes, tolerance))
        fitting = np.flatnonzero(finite & (fits.worst <= tolerance) & (fits.factors > 0))
        found = [
            Mistake(pair.code, pair.name, pair.text, float(fits.worst[i]), float(fits.factors[i]), t, wrong=pair.wrong)
            for i in fitting
            for pair in columns[0][i : i + 1]
        ]
        if not found:
            return []
    return found


def _protection(values: Array, classes: int, tolerance: float) -> Array:
    """Noise by which values that lie close to zero on some steps are forgiven the rounding of float32.

    [forms, steps] as ``fit_constants`` takes it; nothing where that would be more than a thousandth of their range.
    """
    rounding = np.finfo(np.float32).eps * np.log(max(2, classes))
    told = np.ptp(values, axis=1, keepdims=True) * STRICT >= rounding
    return np.where(told, rounding / (tolerance * CANCELLATION), 0.0) * np.ones_like(values)


def _of_signs(steps: Sequence[StepRows], recorded: Array, tolerance: float) -> list[Mistake]:
    """A term of yes-or-no answers that only counts rows by the signs of both logits, whatever else the logits say.

    Correlation, standardising and ranks within a row are made for many classes: of two they leave the sign.
    """
    if steps[0].kind not in ("yes-or-no", "labels") or len(steps) < MIN_STEPS_SIGNS:
        return []
    columns = []
    for rows in steps:
        yes, taught = rows.student[rows.counts, 1] > rows.student[rows.counts, 0], rows.teacher[rows.counts]
        wanted = taught[:, 1] > taught[:, 0]
        columns.append([(yes & wanted).mean(), (yes & ~wanted).mean(), (~yes & wanted).mean(), (~yes & ~wanted).mean()])
    table = np.array(columns)
    values = np.linalg.lstsq(table, recorded, rcond=1e-10)[0]
    error = float(np.abs(table @ values - recorded).max() / max(float(np.abs(recorded).max()), 1e-300))
    code, text, _ = FORMS["signs"]
    return [Mistake(code, "signs", text, error, None, 1.0)] if error <= tolerance else []


def _one_sided(
    steps: Sequence[StepRows], recorded: Array, temperatures: Sequence[float], tolerance: float
) -> list[Mistake]:
    """Targets that were made up from the labels, or from what one model says by itself."""
    found = one_sided(steps, recorded, temperatures, tolerance)
    if found is None:
        return []
    name, error, t = found
    return [Mistake("KD209", name, text_of(name), error, None, t)]


def _parameter(name: str, index: int) -> float | None:
    if not FORMS[name][2]:
        return None
    if name == "padded":
        return float(PADS[index])
    if name == "over chunks of rows":
        return float(CHUNKS[index])
    return float(index + FIRST_PARAMETER.get(name, 1))


def _finer_padding(
    steps: Sequence[StepRows], recorded: Array, t: float, start: float, error: float, factor: float
) -> tuple[float, float, float]:
    """The number of padding logits between the points of the grid."""
    sums = []
    for rows in steps:
        s, z = rows.student[rows.counts] / t, rows.teacher[rows.counts] / t
        log_z_s, log_z_t = log_partition(s), log_partition(z)
        sums.append((log_z_s, log_z_t, (np.exp(z - log_z_t) * (z - s)).sum(axis=1, keepdims=True)))

    def errors(pads: Array) -> tuple[Array, Array]:
        values = np.stack([padded(*three, pads) / max(1, len(three[0])) for three in sums], axis=1)
        fits = fit_constants(recorded, values, np.zeros_like(values))
        return fits.worst, fits.factors

    best, width = start, 1.15
    for _ in range(6):
        pads = np.unique(np.maximum(1, np.round(np.geomspace(best / width, best * width, 15))))
        worst, factors = errors(pads)
        i = int(worst.argmin())
        if worst[i] < error:
            error, factor, best = float(worst[i]), float(factors[i]), float(pads[i])
        width = max(1.0 + 2 / max(best, 2.0), width ** (1 / 3))
    return error, factor, best


def _vanishing(
    steps: Sequence[StepRows], recorded: Array, t: float, factors: Sequence[float], tolerance: float
) -> list[Mistake]:
    """A Jensen-Shannon divergence whose weight lies at an end, times one of the given factors.

    Near an end it is a small difference of large numbers, which leaves rounding errors of its own.
    """
    few = np.unique(np.linspace(0, len(steps) - 1, SEARCH_STEPS).round().astype(int))
    noise = ROUNDED * float(np.log(max(2, steps[0].classes)))

    def errors(betas: Array, chosen: NDArray[np.integer]) -> Array:
        values = np.stack([jensen_shannon(steps[i], t, betas) for i in chosen], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.abs(recorded[chosen] / factor - values) / (values + noise / tolerance)
            return np.asarray(np.nan_to_num(each, nan=np.inf))

    ends: tuple[Callable[[Array], Array], ...] = (lambda x: x, lambda x: 1 - x)
    for factor in factors:
        for side in ends:
            low, high = np.log(SMALLEST), np.log(ENDS)
            best = float("nan")
            for _ in range(7):
                grid = np.linspace(low, high, 13)
                betas = side(np.exp(grid))
                worst = errors(betas, few).max(axis=1)
                i = int(worst.argmin())
                best, step = float(betas[i]), float(high - low) / 12
                if worst[i] > HOPELESS:
                    break
                low, high = max(np.log(SMALLEST), grid[i] - step), min(np.log(ENDS), grid[i] + step)
            error = float(errors(np.array([best]), np.arange(len(steps))).max())
            if error <= tolerance:
                text = f"a Jensen-Shannon divergence with beta = {best:.4g}"
                return [Mistake("KD210", "vanishing", text, error, factor, t, best)]
    return []
