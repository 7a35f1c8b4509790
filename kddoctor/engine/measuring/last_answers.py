"""Recorded steps beside the final student's answers to the same training rows."""

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.reading import binary_like, evenly
from kddoctor.probes.answers_over_time import AnswersOverTime, FinalAnswers, StepAnswers, answers_over_time
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED

#: Steps and training rows that are compared, and elements of logits that are read.
STEPS, ROWS, ELEMENTS = 32, 20_000, 20_000_000


def answers_of(run: Run) -> AnswersOverTime | None:
    """None where steps or training rows were not recorded, or are of several labels each."""
    part, steps = run.predictions("train"), run.steps
    if part is None or steps is None or part.teacher_logits is None or part.student_logits is None:
        return None
    if run.manifest.task == "multilabel":
        return None
    width = max(1, part.teacher_logits.size // max(1, part.n))
    rows = max(1, min(part.n, ROWS, ELEMENTS // width))
    labels = np.asarray(part.labels[:rows])
    final = FinalAnswers(
        _as_rows(run, part.teacher_logits[:rows], labels),
        _as_rows(run, part.student_logits[:rows], labels),
        _as_labels(labels),
    )
    if not np.isfinite(final.teacher).all() or not np.isfinite(final.student).all():
        return None
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    chosen = evenly(steps.count, max(2, min(STEPS, ELEMENTS // per_step)))
    found = []
    for k in map(int, chosen):
        labels = np.asarray(steps.labels[k])
        teacher, student = (_as_rows(run, array[k], labels) for array in (steps.teacher_logits, steps.student_logits))
        found.append(StepAnswers(teacher, student, _as_labels(labels)))
    return answers_over_time(found, final)


def _as_rows(run: Run, logits: NDArray[np.floating], labels: NDArray[np.generic]) -> NDArray[np.floating]:
    """[n, C], of those that have a label; [n, 1] where every row has one logit."""
    width = 1 if binary_like(run.manifest) else logits.shape[-1]
    return np.asarray(logits.reshape(-1, width)[labels.reshape(-1) != IGNORED])


def _as_labels(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    flat = np.rint(labels.reshape(-1).astype(np.float64)).astype(np.int64)
    return np.asarray(flat[flat != IGNORED])
