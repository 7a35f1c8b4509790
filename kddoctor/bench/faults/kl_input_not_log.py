"""KD203: kl_div gets probabilities where it expects log-probabilities."""

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe


def softmax_of_the_student(recipe: Recipe, _level: Level) -> Recipe:
    """softmax on both sides."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(p(student / t), p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def module_with_softmax(recipe: Recipe, _level: Level) -> Recipe:
    """nn.KLDivLoss on the outputs of nn.Softmax."""
    divergence, softmax = nn.KLDivLoss(reduction="batchmean"), nn.Softmax(dim=1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        loss: Tensor = (t**2) * divergence(softmax(student.div(t)), softmax(teacher.div(t)))
        return loss

    return replace(recipe, kd_loss=kd_loss)


def target_not_log(recipe: Recipe, _level: Level) -> Recipe:
    """Changed to log_target=True, and the teacher's side left as probabilities."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean", log_target=True) * t * t

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault(
    "KD203",
    seen=(softmax_of_the_student,),
    unseen=(module_with_softmax, target_not_log),
    knob=False,
)
