"""Measurements of what the soft targets say."""

from collections.abc import Iterator

import numpy as np

from kddoctor.engine.measuring.splits import Measured
from kddoctor.engine.reading import binary_like, classes, evenly
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.truncated_teacher import MIN_STEPS_TOTAL_ONLY, Truncation, TruncatedTeacherProbe
from kddoctor.run.directory import Run

#: Elements of recorded logits that are searched for a shortened teacher; longer samples are thinned evenly.
SEARCHED_ELEMENTS = 20_000_000
#: A step larger than this is not searched: a long list of classes costs a sort each.
LARGEST_STEP = 70_000_000
#: Temperatures beside the declared one, for vocabularies that one pass more is nothing for.
TEMPERATURES, FEW_CLASSES = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0, 20.0), 4096


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    truncation = _truncation(run, measured.get(LossForensics))
    if truncation is not None:
        yield truncation


def _truncation(run: Run, loss: object) -> Truncation | None:
    """Searched only where no form over all classes reproduces the recorded loss."""
    steps, manifest = run.steps, run.manifest
    if steps is None or binary_like(manifest) or not isinstance(loss, LossForensics):
        return None
    if loss.kd_always_zero or loss.term is not None:
        return None
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    if per_step > LARGEST_STEP:
        return None
    number = classes(manifest)
    declared = manifest.distillation.temperature
    wanted = {1.0, *([declared] if declared else [])}
    if number <= FEW_CLASSES:
        wanted |= set(TEMPERATURES)
    probe = TruncatedTeacherProbe(number, sorted(wanted))
    for k in map(int, evenly(steps.count, max(MIN_STEPS_TOTAL_ONLY, SEARCHED_ELEMENTS // per_step))):
        student, teacher = (a[k].reshape(-1, number) for a in (steps.student_logits, steps.teacher_logits))
        counts = np.rint(np.asarray(steps.labels[k])).reshape(-1) != -100
        if steps.mask is not None:
            counts &= np.asarray(steps.mask[k], bool).reshape(-1)
        student, teacher = student[counts], teacher[counts]
        if not len(student) or not (np.isfinite(student).all() and np.isfinite(teacher).all()):
            continue
        probe.update(
            student,
            teacher,
            float(steps.loss[k]),
            *(None if column is None else float(column[k]) for column in (steps.kd_loss, steps.ce_loss)),
        )
    return probe.compute()
