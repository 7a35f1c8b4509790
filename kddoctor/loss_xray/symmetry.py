"""What the loss does not see: shifts of logits, their scale, the order of rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kddoctor.loss_xray.batches import Batch, other_teacher
from kddoctor.loss_xray.calling import LossCall

#: Relative change of the teacher's part that counts as one.
CHANGED = 1e-3


@dataclass(frozen=True)
class Symmetry:
    """row_shift: a constant added to the logits of a row changes nothing, by side: a softmax over classes, as it should
    be. column_shift: one added to the logits of a class over the batch: a softmax over the batch. scale: a
    common factor of the side's logits changes nothing. row_order: the order of the rows does not matter.
    """

    row_shift: dict[str, bool]
    column_shift: dict[str, bool]
    scale: dict[str, bool]
    row_order: bool

    @property
    def wrong_axis(self) -> tuple[str, ...]:
        """Sides whose softmax runs over the batch."""
        return tuple(side for side in self.column_shift if self.column_shift[side] and not self.row_shift[side])


def symmetry(call: LossCall, batches: Sequence[Batch]) -> Symmetry:
    """Compare the teacher's part of the loss before and after each change."""
    few = batches[:4]
    rows = len(few[0].labels)
    by_row = torch.linspace(-2, 3, rows, dtype=few[0].student.dtype)[:, None]
    columns = few[0].student.shape[-1]
    by_column = torch.linspace(-2, 3, columns, dtype=few[0].student.dtype)[None].roll(1, 1)
    order = torch.arange(rows).roll(2).flip(0)

    def kept(change: dict[str, Tensor | float]) -> bool:
        return all(_same(call, batch, _changed(batch, change)) for batch in few)

    sides = ("student", "teacher")
    return Symmetry(
        row_shift={side: kept({side: by_row}) for side in sides},
        column_shift={side: kept({side: by_column}) for side in sides},
        scale={side: kept({side: 1.7}) for side in sides},
        row_order=all(
            _same_value(call.value(b), call.value(Batch(b.student[order], b.teacher[order], b.labels[order])))
            for b in few
        ),
    )


def _changed(batch: Batch, change: dict[str, Tensor | float]) -> tuple[Batch, Batch]:
    """The batch and its twin with another teacher, changed alike."""
    twin = other_teacher(batch)

    def moved(one: Batch) -> Batch:
        for side, by in change.items():
            before = getattr(one, side)
            one = replace(one, **{side: before + by if isinstance(by, Tensor) else before * by})
        return one

    return moved(batch), moved(twin)


def _same(call: LossCall, batch: Batch, changed: tuple[Batch, Batch]) -> bool:
    before = call.value(batch) - call.value(other_teacher(batch))
    after = call.value(changed[0]) - call.value(changed[1])
    return _same_value(before, after)


def _same_value(before: float, after: float) -> bool:
    return abs(before - after) <= CHANGED * max(abs(before), abs(after), 1e-12)
