"""KD110: the distillation term is computed, and never reaches the total."""

from dataclasses import replace

from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import kl
from kddoctor.bench.recipe import Recipe


def never_added(recipe: Recipe, _level: Level) -> Recipe:
    """Computed and logged, but the total is the hard-label loss."""

    def mix(ce: Tensor, _kd: Tensor, _alpha: float) -> Tensor:
        return ce

    return replace(recipe, mix=mix)


def percent_divided_as_integers(recipe: Recipe, _level: Level) -> Recipe:
    """The weight is an option in percent, divided by 100 without a remainder."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        percent = round(100 * alpha)
        return (percent // 100) * kd + (1 - alpha) * ce

    return replace(recipe, mix=mix)


def hook_that_never_fires(recipe: Recipe, _level: Level) -> Recipe:
    """Terms are collected by hooks on names that no module has behind its wrapper: the sum of none is zero."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        outputs = {"module.head": (student, teacher)}
        terms = [kl(*pair, t) for name, pair in outputs.items() if name == "head"]
        return sum(terms, start=student.new_zeros(()))

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault("KD110", seen=(never_added,), unseen=(percent_divided_as_integers, hook_that_never_fires), knob=False)
