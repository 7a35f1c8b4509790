"""Which inputs the loss depends on, and where its gradient goes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kddoctor.loss_xray.batches import Batch, other_labels, other_teacher
from kddoctor.loss_xray.calling import LossCall

#: Relative change below which a value has not changed: rounding.
SAME = 1e-9
SAME_SINGLE = 1e-5


@dataclass(frozen=True)
class Dependence:
    """student, teacher, labels: whether the value changes with that input.

    student_gradient: any gradient reaches the student. pull: that gradient changes with the teacher. teacher_gradient:
    a gradient reaches the teacher's side. touched, met: not-a-number in the teacher spreads to the value, and to
    the student's gradient: a term that cancels out or has weight zero is still seen that way.
    """

    student: bool
    teacher: bool
    labels: bool
    student_gradient: bool
    pull: bool
    teacher_gradient: bool
    touched: bool
    met: bool


def same_value(a: float, b: float, dtype: torch.dtype) -> bool:
    """Equal up to rounding."""
    return abs(a - b) <= (SAME if dtype == torch.float64 else SAME_SINGLE) * max(abs(a), abs(b))


def dependence(call: LossCall, batches: Sequence[Batch], classes: int) -> Dependence:
    """Probe the first batches."""
    few = batches[:4]
    base = [call.gradients(batch) for batch in few]
    exchanged = [call.gradients(other_teacher(batch)) for batch in few]
    # An unrelated student: many a loss does not see that one is turned, scaled or put in another order.
    flipped = [Batch(other.student, b.teacher, b.labels) for b, other in zip(few, batches[1:5], strict=True)]
    relabelled = [call.value(b.with_labels(other_labels(b.labels, classes))) for b in few]
    dtype = few[0].student.dtype

    def changed(values: Sequence[float]) -> bool:
        return any(not same_value(found.value, value, dtype) for found, value in zip(base, values, strict=True))

    touched, met = _taint(call, few[0])
    pull = any(_differ(a.student, b.student, dtype, largest(a.student)) for a, b in zip(base, exchanged, strict=True))
    return Dependence(
        student=changed([call.value(b) for b in flipped]),
        teacher=changed([found.value for found in exchanged]),
        labels=changed(relabelled),
        student_gradient=any(_nonzero(found.student) for found in base),
        pull=pull,
        teacher_gradient=any(_reaches(found.teacher, found.student) for found in base),
        touched=touched,
        met=met,
    )


def _taint(call: LossCall, batch: Batch) -> tuple[bool, bool]:
    spoilt = batch.teacher.clone()
    spoilt.view(-1)[0] = math.nan
    try:
        found = call.gradients(batch.with_teacher(spoilt))
    except Exception:  # a loss may check its inputs
        return True, True
    return math.isnan(found.value), found.student is not None and bool(found.student.isnan().any())


def _nonzero(gradient: Tensor | None) -> bool:
    return gradient is not None and bool((gradient != 0).any())


def _reaches(teacher: Tensor | None, student: Tensor | None) -> bool:
    return teacher is not None and largest(teacher) > 1e-9 * max(largest(student), 1e-9)


def largest(gradient: Tensor | None) -> float:
    """Largest absolute entry, 0 for no gradient."""
    return 0.0 if gradient is None else float(gradient.abs().max())


def _differ(a: Tensor | None, b: Tensor | None, dtype: torch.dtype, scale: float) -> bool:
    if a is None or b is None:
        return (a is None) != (b is None)
    return float((a - b).abs().max()) > (SAME if dtype == torch.float64 else SAME_SINGLE) * max(scale, 1e-12)
