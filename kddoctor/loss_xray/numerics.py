"""Is the loss right in floating point: half precision, large logits, near the teacher?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kddoctor.loss_xray.batches import Batch
from kddoctor.loss_xray.calling import LossCall

#: Largest logits that networks are seen to put out, and ones that only a diverging network has.
LARGE, EXTREME = 40.0, 1e4
#: Logits of an ordinary classifier, for half precision.
ORDINARY = 8.0
#: A change this much smaller than a usual one is rounded away in a sound loss, too.
SMALL = 1e-3
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Numerics:
    """finite: by precision and range ("fp16 ordinary"), whether value and gradient are numbers; None where the call
    fails. single_error: relative error of the loss in fp32 near the teacher against float64, None where the loss only
    takes one of them. coarse: a change of the teacher by 1e-5 changes nothing and one by 5 % does: half precision
    inside.
    """

    finite: dict[str, bool | None]
    single_error: float | None
    coarse: bool


def numerics(call: LossCall, batches: Sequence[Batch]) -> Numerics:
    """Call the loss in every precision on logits of every size."""
    few = batches[:3]
    ranges = {"ordinary": ORDINARY, "large": LARGE, "extreme": EXTREME}
    finite = {
        f"{name} {size}": _all_finite(call, [_within(b, reach, dtype) for b in few])
        for name, dtype in DTYPES.items()
        for size, reach in ranges.items()
        if (name, size) != ("fp16", "extreme")  # the square of such a logit is beyond fp16 by itself
    }
    return Numerics(finite, _single_error(call, few), _coarse(call, few))


def _within(batch: Batch, reach: float, dtype: torch.dtype) -> Batch:
    """Logits stretched so that the largest of each side is ``reach``."""
    student, teacher = (side.double() * (reach / float(side.abs().max())) for side in (batch.student, batch.teacher))
    return Batch(student, teacher, batch.labels).to(dtype)


def _all_finite(call: LossCall, batches: Sequence[Batch]) -> bool | None:
    try:
        return all(call.finite(batch) for batch in batches)
    except Exception:  # an operation that this precision does not have
        return None


def _single_error(call: LossCall, batches: Sequence[Batch]) -> float | None:
    """Largest relative error near the teacher, where the loss is small and rounding shows."""
    worst = 0.0
    for batch in batches:
        if batch.student.shape != batch.teacher.shape:
            return None
        near = Batch(batch.teacher + 0.05 * batch.student, batch.teacher, batch.labels)
        try:
            single, double = (
                call.value(near.to(dtype)) - call.value(_same_as_teacher(near).to(dtype))
                for dtype in (torch.float32, torch.float64)
            )
        except Exception:  # a module in single precision takes no double
            return None
        usual = abs(call.value(batch) - call.value(_same_as_teacher(batch)))
        if not (math.isfinite(single) and math.isfinite(double)):
            return math.inf
        worst = max(worst, abs(single - double) / max(abs(double), SMALL * usual, 1e-12))
    return worst


def _same_as_teacher(batch: Batch) -> Batch:
    return Batch(batch.teacher.clone(), batch.teacher, batch.labels)


def _coarse(call: LossCall, batches: Sequence[Batch]) -> bool:
    if batches[0].teacher.dtype != torch.float64:
        return False

    def unmoved(by: float) -> bool:
        return all(call.value(b) == call.value(b.with_teacher(b.teacher * (1 + by))) for b in batches)

    return unmoved(1e-5) and not unmoved(0.05)
