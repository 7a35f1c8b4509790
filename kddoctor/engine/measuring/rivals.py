"""The teacher against who learns from it, row by row."""

import numpy as np

from kddoctor.engine.reading import binary_like, finite_baseline, finite_rows
from kddoctor.probes.measurements import Rivals
from kddoctor.probes.paired_retention import PairedRetention, retention_of_choices, retention_of_scores
from kddoctor.run.arrays import Array
from kddoctor.run.directory import Run


def measure_rivals(run: Run, split: str) -> Rivals | None:
    """None where the split lacks a model's logits, or holds one answer only."""
    part = run.predictions(split)
    if part is None or part.teacher_logits is None or part.student_logits is None:
        return None
    yes_or_no = binary_like(run.manifest)
    columns: list[list[Array]] = [[], [], [], [], []]
    logits = (part.teacher_logits, part.student_logits, finite_baseline(part))
    for chunk in finite_rows(*logits, part.labels, part.group_ids):
        for number, (column, values) in enumerate(zip(columns, chunk, strict=True)):
            if values is not None:
                # A vocabulary is too large to be kept; its best entry is all that accuracy asks for.
                column.append(values.argmax(-1) if number < len(logits) and not yes_or_no else values)
    teacher, student, twin, labels, groups = (np.concatenate(column) if column else None for column in columns)
    if labels is None or not len(labels) or teacher is None or student is None:
        return None

    def paired(one: Array, other: Array) -> PairedRetention | None:
        return (
            retention_of_scores(one, other, labels, groups) if yes_or_no else retention_of_choices(one, other, labels)
        )

    against_student = paired(teacher, student)
    if against_student is None:
        return None
    if twin is None:
        return Rivals(against_student, None, None)
    return Rivals(against_student, paired(teacher, twin), paired(twin, student))
