"""Did teacher and student see the same input tensors?"""

from __future__ import annotations

import torch
from torch import Tensor

from kddoctor.run.recording.calling import Transform
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.run.recording.watch import Seen

CLOSE = 1e-5  # relative: the same transform twice, on hardware that adds in another order


def same_inputs(student: Seen | None, teacher: Seen | None, transform: Transform | None) -> bool | None:
    """Whether two calls had the same inputs, up to the teacher's transform; None where that cannot be told."""
    if student is None or teacher is None or not (student.intact and teacher.intact):
        return None
    given, taken = student.inputs, teacher.inputs
    if given is None or taken is None:
        return None
    if transform is not None:
        with undisturbed():
            given = transform(given)
    elif given is taken:
        return True
    return given.shape == taken.shape and _equal(given, taken, exactly=transform is None)


def _equal(a: Tensor, b: Tensor, exactly: bool) -> bool:
    b = b.to(a.device)
    if exactly or not a.is_floating_point():
        return bool(torch.equal(a, b.to(a.dtype)))
    return bool(torch.allclose(a, b.to(a.dtype), rtol=CLOSE, atol=CLOSE, equal_nan=True))
