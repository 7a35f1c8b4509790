"""Is the recorded term a function of one model and the labels alone, whatever constants somebody put into it?

Targets that are made from labels give every row h for its label and l for each other class. Whatever h and l are, the
cross-entropy with them is a constant times −log q_y, plus a constant times −Σ log q, plus a constant; and the same for
squared errors and for the divergence the other way round. A few constants for all recorded steps, told from chance by
many more steps than constants.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_sums import row_blocks
from kddoctor.probes.mistaken_forms import StepRows, log_partition

Array = NDArray[np.float64]

#: Steps for each constant that is fitted, and the least of them.
STEPS_A_CONSTANT, MIN_STEPS = 2, 8
#: Share of the recorded term's range that may be left over: what is nearly constant fits anything.
OF_RANGE = 2e-3
#: Classes beyond which one constant a class is not tried.
MOST_CLASSES = 16


def one_sided(
    steps: Sequence[StepRows], recorded: Array, temperatures: Sequence[float], tolerance: float
) -> tuple[str, float, float] | None:
    """(name, relative error, temperature) of the first family that reproduces the recorded term at every step.

    recorded: [steps]. None where none does, and where there are too few steps to tell.
    """
    for t in temperatures:
        tables: dict[str, list[Array]] = {}
        for rows in steps:
            for name, columns in _families(rows, t):
                tables.setdefault(name, []).append(columns)
        for name, column in tables.items():
            if len(column) == len(steps):
                error = _left_over(np.stack(column), recorded)
                if error is not None and error <= tolerance:
                    return name, error, t
    return None


def _left_over(table: Array, recorded: Array) -> float | None:
    """Largest error relative to the recorded term after the best constants, one of them added; None for too few steps.

    table: [steps, constants].
    """
    steps = len(table)
    design = np.concatenate([table, np.ones((steps, 1))], axis=1)
    if steps < max(MIN_STEPS, STEPS_A_CONSTANT * design.shape[1]) or not np.isfinite(design).all():
        return None
    size = np.maximum(np.abs(design).max(axis=0), 1e-300)
    solution, _, rank, _ = np.linalg.lstsq(design / size, recorded, rcond=1e-9)
    if rank < 2:
        return None
    rest = float(np.abs(design / size @ solution - recorded).max())
    if rest > OF_RANGE * float(np.ptp(recorded)):
        return None
    return rest / max(float(np.abs(recorded).max()), 1e-300)


def _families(rows: StepRows, t: float) -> Iterator[tuple[str, Array]]:
    """Means over the rows that count, [constants] each: what any targets of a family make of a loss."""
    total: dict[str, Array] = {}
    counted = 0
    for block in row_blocks(*rows.student.shape):
        keep = rows.counts[block] & (rows.labels[block] >= 0)
        if not keep.any():
            continue
        counted += int(keep.sum())
        s, z, y = rows.student[block][keep] / t, rows.teacher[block][keep] / t, rows.labels[block][keep]
        for name, sums in _of_block(s, z, y):
            total[name] = total[name] + sums if name in total else sums
    for name, sums in total.items():
        yield name, sums / max(1, counted)


def _of_block(s: Array, z: Array, y: NDArray[np.int64]) -> Iterator[tuple[str, Array]]:
    for name, values, classes in (
        ("student and labels", s, y),
        ("student and its own top class", s, s.argmax(axis=1)),
        ("teacher and labels", z, y),
    ):
        for loss, columns in _of_one(values, classes):
            yield f"{name}, {loss}", columns
    if s.shape[1] <= MOST_CLASSES:
        log_q = s - log_partition(s)
        yield "student and one target for all rows, cross-entropy", -log_q.sum(axis=0)


def _of_one(values: Array, classes: NDArray[np.int64]) -> Iterator[tuple[str, Array]]:
    """Sums over rows that span all losses of a kind between [n, C] logits and targets that favour one class a row."""
    at = np.arange(len(values))
    log_q = values - log_partition(values)
    q = np.exp(log_q)
    # Of two classes, the mean over classes is the mean of both alike.
    yield "cross-entropy", np.array([-log_q[at, classes].sum(), -log_q.mean(axis=1).sum()])
    yield "reverse", np.array([(q * log_q).sum(), q[at, classes].sum()])
    yield "squared error of probabilities", np.array([(q**2).sum(), q[at, classes].sum()])
    mean = values.mean(axis=1).sum()
    yield "squared error of logits", np.array([(values**2).sum(), values[at, classes].sum(), mean])


#: What a family says of the recorded term.
TEXTS: dict[str, str] = {
    "student and labels": "a function of the student's outputs and the labels alone, without the teacher",
    "student and its own top class": "a function of the student's outputs and its own top class, without the teacher",
    "teacher and labels": "a function of the teacher's outputs and the labels alone, without the student",
    "student and one target for all rows": "the student's cross-entropy with targets that are the same for all rows",
}


def text_of(name: str) -> str:
    """A sentence's end for a family's name."""
    return TEXTS[name.rpartition(", ")[0]]
