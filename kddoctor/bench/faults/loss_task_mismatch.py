"""KD214: the distillation term is made for another kind of answer than the one that the task asks for."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe


def softmax_over_one_logit(recipe: Recipe, _level: Level) -> Recipe:
    """Softmax over the one logit of a yes-or-no question: every probability is 1, and the term is 0."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return kl(student[:, 1:], teacher[:, 1:], t)

    return replace(recipe, kd_loss=kd_loss)


def without_the_complement(recipe: Recipe, _level: Level) -> Recipe:
    """kl_div between sigmoids: p (log p - log q) of a yes, without the part of the no, so that all scores rise."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = F.logsigmoid(student[:, 1] / t), (teacher[:, 1] / t).sigmoid()
        return F.kl_div(answers, targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def only_the_other_classes(recipe: Recipe, _level: Level) -> Recipe:
    """The decoupled divergence of the classes other than the teacher's own, made for many: with two, one is left."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        own = F.one_hot(teacher.argmax(1), teacher.shape[1]).bool()
        answers, targets = (logits[~own].view(len(logits), -1) / t for logits in (student, teacher))
        return F.kl_div(log_p(answers), p(targets), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault(
    "KD214",
    seen=(softmax_over_one_logit,),
    unseen=(without_the_complement, only_the_other_classes),
    kinds=("ranking",),
    knob=False,
)
