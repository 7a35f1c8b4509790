"""Every decision of a run's student on its held-out rows, as flat arrays: what all figures are made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import CHUNK, CHUNK_ELEMENTS, binary_like
from kddoctor.errors import UsageError
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.run.predictions import Predictions

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Decisions:
    """One entry for each decision [D]: a row of classes, a label of a yes-or-no row, a position of a text.

    example: the row of predictions that it belongs to, of ``examples`` rows. label, chosen: classes. right,
    teacher_right, agrees: of the student with the label, of the teacher, of both with one another. confidence: of the
    student in what it chose; a student that is not finite chose wrongly, and with certainty. score: the student's logit
    of yes-or-no decisions, else None.
    """

    examples: int
    example: Ints
    label: Ints
    right: Flags
    teacher_right: Flags
    agrees: Flags
    confidence: Floats
    score: Floats | None


def decisions_of(run: Run) -> Decisions:
    """Read the held-out split, rows in the order of ``canonical_order``. Raises UsageError without whole logits."""
    part = run.predictions(held_out_split(run))
    assert part is not None
    if part.teacher_logits is None or part.student_logits is None:
        raise UsageError(f"{part.file}: a baseline needs whole logits of teacher and student")
    yes_or_no = binary_like(run.manifest)
    width = max(1, part.student_logits.size // part.n)
    size = max(1, min(CHUNK, CHUNK_ELEMENTS // width))
    pieces = [
        _chunk(
            np.asarray(part.student_logits[start : start + size], float),
            np.asarray(part.teacher_logits[start : start + size], float),
            np.rint(np.asarray(part.labels[start : start + size])).astype(np.int64),
            yes_or_no,
            start,
        )
        for start in range(0, part.n, size)
    ]
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    order = canonical_order(part)
    place = np.empty(part.n, np.int64)
    place[order] = np.arange(part.n)
    example = place[columns[0]]
    sorting = np.argsort(example, kind="stable")
    example, label, right, teacher_right, agrees, confidence, score = (
        column[sorting] for column in (example, *columns[1:])
    )
    return Decisions(part.n, example, label, right, teacher_right, agrees, confidence, score if yes_or_no else None)


def canonical_order(part: Predictions) -> Ints:
    """[N] rows by their ids, where these tell rows apart; as they stand otherwise."""
    ids = None if part.example_ids is None else np.asarray(part.example_ids.read())
    if ids is None or len(np.unique(ids)) < len(ids):
        return np.arange(part.n)
    return np.argsort(ids, kind="stable")


def _chunk(
    student: Floats, teacher: Floats, labels: Ints, yes_or_no: bool, start: int
) -> tuple[NDArray[np.generic], ...]:
    rows = np.arange(start, start + len(labels))
    asked = np.ones(labels.shape, bool) if yes_or_no else labels != IGNORED
    example = np.broadcast_to(rows.reshape(-1, *(1,) * (labels.ndim - 1)), labels.shape)[asked]
    label, z, taught = labels[asked], student[asked], teacher[asked]
    if yes_or_no:
        chosen, by_teacher, finite = z > 0, taught > 0, np.isfinite(z)
        confidence, score = expit(np.abs(z)), z
    else:
        finite = np.isfinite(z).all(axis=1)
        z = np.where(finite[:, None], z, 0.0)
        chosen, by_teacher = z.argmax(axis=1), taught.argmax(axis=1)
        confidence = np.exp(z.max(axis=1) - logsumexp(z, axis=1))
        score = np.zeros(len(z))
    # Grades of a ranking are all the better for being larger; what is asked is whether there is one at all.
    truth = label > 0 if yes_or_no else label
    right, agrees = finite & (chosen == truth), finite & (chosen == by_teacher)
    certain = np.where(finite, confidence, 1.0)
    return example, label, right, by_teacher == truth, agrees, certain, np.where(np.isfinite(score), score, 0.0)
