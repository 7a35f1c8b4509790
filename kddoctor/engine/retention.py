"""Retention of a run, from rows on which both models answered."""

import numpy as np

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import binary_like, finite_rows
from kddoctor.errors import RunError
from kddoctor.probes.paired_retention import PairedRetention, retention_of_choices, retention_of_scores
from kddoctor.run.arrays import Array
from kddoctor.run.directory import Run


def measure_retention(run: Run, split: str | None = None) -> PairedRetention:
    """In the metric of the task, as in the diagnosis: area under the curve for yes-or-no tasks, else accuracy.

    split: the held-out one when left out. Rows that are not finite in either model are left out. Raises RunError where
    the split, or a model's logits in it, were not recorded, or nothing is left.
    """
    split = split or held_out_split(run)
    part = run.predictions(split)
    if part is None:
        raise RunError.plain(f"predictions/{split}.safetensors: is missing; recorded are {', '.join(run.splits)}.")
    for name in ("teacher_logits", "student_logits"):
        if getattr(part, name) is None:
            raise RunError.plain(f"{part.file}: holds no {name}; retention needs those of both models.")
    rows = list(zip(*finite_rows(part.teacher_logits, part.student_logits, part.labels, part.group_ids), strict=True))
    teacher, student, labels = (np.concatenate(chunks) for chunks in rows[:3])
    groups = None if part.group_ids is None else np.concatenate(rows[3])
    if not len(labels):
        raise RunError.plain(f"{part.file}: no row is finite in both models; retention cannot be measured.")
    found = retention(teacher, student, labels, groups, yes_or_no=binary_like(run.manifest))
    if found is None:
        raise RunError.plain(f"{part.file}: labels hold one answer only; the area under the curve needs both.")
    return found


def retention(
    teacher: Array, student: Array, labels: Array, groups: Array | None = None, *, yes_or_no: bool
) -> PairedRetention | None:
    """teacher, student: logits [n, …]; labels: as the contract has them; groups: [n] or None.

    None for a yes-or-no task with one answer only.
    """
    if yes_or_no:
        return retention_of_scores(teacher, student, labels, groups)
    return retention_of_choices(teacher.argmax(-1), student.argmax(-1), labels)
