"""Is the distillation term at its lowest exactly where the student equals the teacher?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kddoctor.loss_xray.batches import Batch
from kddoctor.loss_xray.calling import LossCall
from kddoctor.loss_xray.dependence import largest
from kddoctor.loss_xray.label_term import LabelTerm, cross_entropy

#: Gradient at the teacher, relative to a usual one, that counts as none.
NONE = 1e-4


@dataclass(frozen=True)
class FixedPoint:
    """pull: gradient of the term at student = teacher, relative to a usual one. lowest: every probe beside it is
    higher. smallest: the lowest value of the term that was seen. Shifts of the logits are not counted as a move.
    """

    pull: float
    lowest: bool
    smallest: float

    @property
    def holds(self) -> bool:
        """A student equal to the teacher stays there."""
        return self.pull <= NONE and self.lowest


def fixed_point(call: LossCall, batches: Sequence[Batch], labels: LabelTerm) -> FixedPoint | None:
    """None where the shapes differ, or where the label term is not known well enough to take it away."""
    if batches[0].student.shape != batches[0].teacher.shape or not labels.plain:
        return None
    pulls, usual, gaps, values = [], [], [], []
    for batch in batches:
        here = Batch(batch.teacher.clone(), batch.teacher, batch.labels)
        value, gradient = _term(call, here, labels)
        elsewhere, usually = _term(call, batch, labels)
        pulls.append(largest(gradient))
        usual.append(largest(usually))
        beside = [
            _term(call, Batch(batch.teacher + step * torch.sign(batch.student), batch.teacher, batch.labels), labels)[0]
            for step in (0.05, -0.05, 0.5)
        ]
        gaps.append(min(beside) - value)
        values.extend([value, elsewhere, *beside])
    scale = max(map(abs, values))
    noise = (1e-9 if batches[0].student.dtype == torch.float64 else 1e-5) * scale
    return FixedPoint(max(pulls) / max(*usual, 1e-300), min(gaps) >= -noise, min(values))


def _term(call: LossCall, batch: Batch, labels: LabelTerm) -> tuple[float, torch.Tensor | None]:
    """Value and student gradient of what the label term leaves."""
    found = call.gradients(batch)
    if not labels.weight:
        return found.value, found.student
    student = batch.student.detach().clone().requires_grad_()
    hard = cross_entropy(Batch(student, batch.teacher, batch.labels))
    hard = hard * labels.weight * (len(batch.labels) if labels.summed else 1)
    own = torch.autograd.grad(hard, student)[0]
    return found.value - float(hard.detach()), own.neg() if found.student is None else found.student - own
