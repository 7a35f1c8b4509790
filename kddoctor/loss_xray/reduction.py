"""What the distillation term divides by, found by changing the batch and the number of classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch.nn import functional as F

from kddoctor.loss_xray.batches import Batch, other_teacher
from kddoctor.loss_xray.calling import LossCall

#: Classes are added whose logit is so low that no softmax sees them.
ADDED_CLASSES, ABSENT = 5, -600.0
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Reduction:
    """name: batchmean, mean (over classes too), sum, class-mean, or unknown. denominator: relative to batchmean."""

    name: str
    denominator: float


def reduction(call: LossCall, batches: Sequence[Batch], *, features: bool) -> Reduction:
    """Ratios of the teacher's part of the loss, with every row twice and with classes that nobody has."""
    batch = max(batches, key=lambda b: abs(_part(call, b)))
    rows, classes = batch.student.shape[0], batch.student.shape[-1]
    base = _part(call, batch)
    if base == 0:
        return Reduction("unknown", 1.0)
    by_rows = _ratio(call, batch.twice(), base)
    by_classes = None if features else _ratio(call, _with_absent_classes(batch), base)
    summed = _near(by_rows, 2.0)
    over_classes = _near(by_classes, classes / (classes + ADDED_CLASSES))
    if not summed and not _near(by_rows, 1.0):
        return Reduction("unknown", 1.0)
    if summed:
        return Reduction("class-mean", classes / rows) if over_classes else Reduction("sum", 1 / rows)
    return Reduction("mean", float(classes)) if over_classes else Reduction("batchmean", 1.0)


def _part(call: LossCall, batch: Batch) -> float:
    """The difference that another teacher makes: nothing of the label term is in it."""
    return call.value(batch) - call.value(_other(batch))


def _other(batch: Batch) -> Batch:
    """Another teacher that keeps rows doubled and absent classes absent."""
    half = len(batch.labels) // 2
    if half and bool((batch.teacher[:half] == batch.teacher[half : 2 * half]).all()):
        once = Batch(batch.student[:half], batch.teacher[:half], batch.labels[:half])
        return other_teacher(once).twice()
    present = batch.teacher[..., -1].max() > ABSENT / 2
    if present:
        return other_teacher(batch)
    kept = batch.with_teacher(batch.teacher[..., :-ADDED_CLASSES])
    return batch.with_teacher(F.pad(other_teacher(kept).teacher, (0, ADDED_CLASSES), value=ABSENT))


def _with_absent_classes(batch: Batch) -> Batch:
    student, teacher = (F.pad(side, (0, ADDED_CLASSES), value=ABSENT) for side in (batch.student, batch.teacher))
    return replace(batch, student=student, teacher=teacher)


def _ratio(call: LossCall, batch: Batch, base: float) -> float | None:
    try:
        return _part(call, batch) / base
    except Exception:  # a module may be made for one number of classes
        return None


def _near(ratio: float | None, expected: float) -> bool:
    return ratio is not None and abs(ratio - expected) <= TOLERANCE * expected
