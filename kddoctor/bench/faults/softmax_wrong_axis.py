"""KD206: the softmax of the distillation term runs over the wrong axis."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import kl, log_p
from kddoctor.bench.recipe import Recipe


def over_the_batch(recipe: Recipe, _level: Level) -> Recipe:
    """dim=0, on both sides."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = F.log_softmax(student / t, dim=0), F.softmax(teacher / t, dim=0)
        return F.kl_div(answers, targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def targets_over_the_batch(recipe: Recipe, _level: Level) -> Recipe:
    """The student's side is right; the targets are made elsewhere, over the first axis."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        targets = F.softmax(teacher / t, dim=0)
        return F.kl_div(log_p(student / t), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def rows_cut_across_classes(recipe: Recipe, _level: Level) -> Recipe:
    """Classes come first for a kernel that wants them there, and view(-1, C) cuts the rows from that."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        classes = student.shape[1]
        answers, targets = (logits.t().contiguous().view(-1, classes) for logits in (student, teacher))
        return kl(answers, targets, t)

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault("KD206", seen=(over_the_batch,), unseen=(targets_over_the_batch, rows_cut_across_classes), knob=False)
