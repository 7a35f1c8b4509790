"""How the run ended, in the metric of its task."""

from typing import Any

import numpy as np

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import binary_like, finite_baseline, finite_rows
from kddoctor.engine.types import Outcome
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.proportions import standard_error
from kddoctor.run.directory import Run

#: Rows that a rank metric is computed from; more change its third decimal at most.
RANKED_ROWS = 200_000


def measure_outcome(run: Run, held_out: Gaps | None) -> Outcome:
    """Accuracy for classes and tokens; area under the ROC curve (mean over labels) for yes-or-no tasks."""
    split = held_out_split(run)
    part = run.predictions(split)
    if part is None or held_out is None:
        rows = 0 if part is None else part.n
        return Outcome("accuracy", split, rows, None, None, None, None, None, 0.0, None)
    gaps = held_out.gaps
    effect = None
    if gaps.kl_teacher_baseline:
        effect = 1 - gaps.kl_teacher_student / gaps.kl_teacher_baseline
    if binary_like(run.manifest):
        scores = _areas(part)
        if scores is not None:
            teacher, student, baseline = scores
            error = standard_error(student, part.n)
            return Outcome("auc", split, part.n, teacher, student, baseline, gaps.agreement, 0.5, error, effect)
    counts = gaps.class_counts
    chance = None if counts is None else float(((counts / counts.sum()) ** 2).sum())
    return Outcome(
        metric="accuracy",
        split=split,
        rows=gaps.n,
        teacher=gaps.teacher_accuracy,
        student=gaps.student_accuracy,
        baseline=held_out.baseline_accuracy,
        agreement=gaps.agreement,
        chance=chance,
        standard_error=standard_error(gaps.student_accuracy, gaps.n),
        effect=effect,
    )


def _areas(part: Any) -> tuple[float, float, float | None] | None:
    columns: list[list[Any]] = [[], [], [], []]
    rows = 0
    arrays = (part.labels, part.teacher_logits, part.student_logits, finite_baseline(part))
    for chunk in finite_rows(*arrays):
        for column, values in zip(columns, chunk, strict=True):
            if values is not None:
                column.append(values.reshape(len(values), -1))
        rows += len(chunk[0])
        if rows >= RANKED_ROWS:
            break
    if not rows:
        return None
    labels, teacher, student, baseline = (np.concatenate(column) if column else None for column in columns)
    areas = [None if scores is None else area_under_roc(labels, scores) for scores in (teacher, student, baseline)]
    return None if areas[0] is None or areas[1] is None else (areas[0], areas[1], areas[2])


def area_under_roc(labels: Any, scores: Any) -> float | None:
    """Mean over the labels of the area under the ROC curve; None where no label has both kinds of rows.

    labels, scores: [n, C]; grades above 0 count as yes.
    """
    from sklearn.metrics import roc_auc_score

    truth = np.rint(labels) > 0
    usable = [c for c in range(truth.shape[1]) if 0 < truth[:, c].sum() < len(truth)]
    return float(np.mean([roc_auc_score(truth[:, c], scores[:, c]) for c in usable])) if usable else None
