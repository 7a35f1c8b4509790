"""The final student's answers to training rows against those that it gave to the same rows while it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

#: Outputs are the same row's when they differ by less than this share of their standard deviation, as of classes and as
#: of single numbers, which lie close together.
SAME_OUTPUT, SAME_NUMBER = 2e-3, 4e-6
#: Numbers that outputs are reduced to where rows are looked for.
PROJECTED = 8
#: Share of the recorded steps, from the last one back, that show what training ended with.
LATE = 0.25
#: Classes of which the least and the most moved say something.
MOST_CLASSES = 50
#: Matched rows of a step without which nothing is read from it.
FEWEST = 8


@dataclass(frozen=True)
class AnswersOverTime:
    """Recorded steps against the final student, on the rows of both that are the same.

    distance: [k] of each step, in order: root mean square of the difference of both answers, over that of the answers
    themselves; 0 for the same answers, about √2 for unrelated ones. shape: [k] the same when both are brought to one
    size, √(2 − 2 r) for answers of correlation r. late, late_shape: of the last steps together. then, after:
    accuracy on the rows of these; agreement_then, agreement_after: with the teacher. rows: different ones, which is
    how many these shares rest on. offset: of the last step's difference, the share that is the same for all rows.
    still, moved: root mean square of the last step's difference for the class whose logits moved the least and the
    most, over the size of the answers; None for single logits, and for so many classes that some always stand out.
    """

    distance: NDArray[np.float64]
    shape: NDArray[np.float64]
    late: float
    late_shape: float
    then: float
    after: float
    agreement_then: float
    agreement_after: float
    rows: int
    offset: float
    still: float | None
    moved: float | None


@dataclass(frozen=True)
class StepAnswers:
    """One step: logits of the teacher as the loss saw them, and of the student, [n, C]; labels [n]."""

    teacher: Floats
    student: Floats
    labels: Ints


@dataclass(frozen=True)
class FinalAnswers:
    """The training rows after training: teacher's and final student's logits [N, C], labels [N]."""

    teacher: Floats
    student: Floats
    labels: Ints


def answers_over_time(steps: Sequence[StepAnswers], final: FinalAnswers) -> AnswersOverTime | None:
    """Compare steps in their order. A row is known by its label and its teacher's outputs.

    None where rows of fewer than two steps are found, or none of the last step: inputs were augmented, the teacher was
    not in evaluation mode, or other rows were recorded.
    """
    pairs = [_paired(step, final) for step in steps]
    usable = [number for number, (rows, _) in enumerate(pairs) if len(rows) >= FEWEST]
    if len(usable) < 2 or usable[-1] != len(steps) - 1:
        return None
    differences = [_difference(steps[n].student[pairs[n][0]], final.student[pairs[n][1]]) for n in usable]
    distance = np.array([_rms(difference) / scale for difference, scale in differences])
    shape = np.array([_shape(steps[n].student[pairs[n][0]], final.student[pairs[n][1]]) for n in usable])
    late = usable[-max(1, round(LATE * len(usable))) :]
    right = np.zeros(4)
    for number in late:
        rows, at = pairs[number]
        step = steps[number]
        then, after, teacher = step.student[rows], final.student[at], step.teacher[rows]
        for place, (answers, truth) in enumerate(
            ((then, step.labels[rows]), (after, step.labels[rows]), (then, None), (after, None))
        ):
            right[place] += float((_choice(answers) == (_choice(teacher) if truth is None else truth)).sum())
    total = sum(len(pairs[number][0]) for number in late)
    shares = right / total
    rows, at = pairs[usable[-1]]
    # Not brought to a mean of zero: what one class lost, all others would seem to have gained.
    last = np.asarray(final.student[at], np.float64) - steps[usable[-1]].student[rows]
    size = differences[-1][1]
    classes = 1 < last.shape[1] <= MOST_CLASSES
    by_class = np.sqrt((last**2).mean(axis=0)) / size
    return AnswersOverTime(
        distance=distance,
        shape=shape,
        late=float(distance[-len(late) :].mean()),
        late_shape=float(shape[-len(late) :].mean()),
        then=float(shares[0]),
        after=float(shares[1]),
        agreement_then=float(shares[2]),
        agreement_after=float(shares[3]),
        rows=len(np.unique(np.concatenate([pairs[number][1] for number in late]))),
        offset=float((last.mean(axis=0) ** 2).sum() / max(float((last**2).sum(axis=1).mean()), 1e-30)),
        still=float(by_class.min()) if classes else None,
        moved=float(by_class.max()) if classes else None,
    )


def _difference(then: Floats, final: Floats) -> tuple[NDArray[np.float64], float]:
    """[n, C] final minus then, and the root mean square of a logit of either."""
    a, b = np.asarray(then, np.float64), np.asarray(final, np.float64)
    if a.shape[1] > 1:
        # A constant added to all logits of a row changes no answer.
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return b - a, max(float(np.sqrt(((a**2).mean() + (b**2).mean()) / 2)), 1e-30)


def _shape(then: Floats, final: Floats) -> float:
    a, b = np.asarray(then, np.float64), np.asarray(final, np.float64)
    if a.shape[1] > 1:
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    r = float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))
    return float(np.sqrt(max(2 - 2 * r, 0.0)))


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean()))


def _choice(logits: Floats) -> Ints:
    return np.asarray(logits.argmax(axis=1) if logits.shape[1] > 1 else logits[:, 0] > 0, np.int64)


def _paired(step: StepAnswers, final: FinalAnswers) -> tuple[Ints, Ints]:
    """Rows of the step, and the same rows among the final ones."""
    from scipy.spatial import cKDTree

    good = np.isfinite(step.teacher).all(axis=1) & np.isfinite(step.student).all(axis=1)
    rows = np.flatnonzero(good)
    if not len(rows):
        return rows, rows
    scale = float(final.teacher.std()) or 1.0
    classes = final.teacher.shape[1]
    limit = (SAME_OUTPUT if classes > 1 else SAME_NUMBER) * scale * np.sqrt(classes)
    # Distances only shrink under an orthonormal projection, so that no match is lost; all classes are compared after.
    basis = np.eye(classes)
    if classes > PROJECTED:
        basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((classes, PROJECTED)))
    # Labels stand far apart from each other, so that no row is found at one of another label.
    known, wanted = (
        np.column_stack([part.teacher.astype(np.float64) @ basis, 1e3 * scale * part.labels]) for part in (final, step)
    )
    near, place = cKDTree(known).query(wanted[rows], k=1, distance_upper_bound=limit)
    found = np.isfinite(np.atleast_1d(near))
    rows, at = rows[found], np.atleast_1d(place)[found].astype(np.int64)
    same = np.linalg.norm(step.teacher[rows].astype(np.float64) - final.teacher[at], axis=1) <= limit
    return rows[same], at[same]
