"""The loss under the X-ray, or, where it is no loss of class logits, against what the dry steps recorded."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from kddoctor.errors import UsageError
from kddoctor.loss_xray import LossXray, xray
from kddoctor.preflight_checks.judged import LOSS, Judgement
from kddoctor.preflight_checks.result import Check
from kddoctor.preflight_checks.setting import Setting
from kddoctor.treatment.live import MOST_CLASSES

NAME = LOSS[0]
#: Classes up to which probes are as wide as the task: a loss may hold a weight for each class.
AS_WIDE = 1000


def check_loss(setting: Setting, judgement: Judgement) -> Check:
    """Does the loss compute what was declared, and hang on everything that it should?"""
    if setting.loss_fn is None:
        return Check(NAME, "not checked", "no loss_fn was given: the declared loss, as it should be, stands in for it")
    if not xrayed(setting):
        return judgement.check(LOSS)
    try:
        found = _seen_by_xray(setting, setting.loss_fn)
    except UsageError as error:
        return Check(NAME, "not checked", f"the X-ray cannot call it: {error}")
    if found.problems:
        first, *rest = found.problems
        return Check(
            NAME,
            "fail",
            f"{first.name}: {first.evidence}",
            found.codes,
            tuple(map(str, rest)),
            f"kddoctor explain {first.code}",
        )
    term = "an unknown formula" if found.facts.term is None else found.facts.term.text
    return Check(NAME, "ok", f"{found.name} computes {term}; {_declared(setting)}")


def xrayed(setting: Setting) -> bool:
    """Whether the X-ray looks at losses of this task: those of one choice among classes."""
    return setting.manifest.task in ("multiclass", "tokens")


def _declared(setting: Setting) -> str:
    meant = setting.manifest.distillation
    given = {"loss": meant.loss, "temperature": meant.temperature, "alpha": meant.alpha}
    told = [f"{name} = {value}" for name, value in given.items() if value is not None]
    return f"declared: {', '.join(told)}" if told else "nothing was declared to compare it with"


def _seen_by_xray(setting: Setting, loss_fn: Callable[..., Any]) -> LossXray:
    try:
        return _seen(setting, loss_fn)
    except UsageError:
        if setting.manifest.task != "tokens":
            raise
        return _seen(setting, _in_one_sequence(loss_fn))


def _in_one_sequence(loss_fn: Callable[..., Any]) -> Callable[..., Any]:
    """A loss of [B, L, V] for the X-ray, which calls it with [n, V]."""

    def of_positions(student: Tensor, teacher: Tensor, labels: Tensor) -> Any:
        return loss_fn(student[None], teacher[None], labels[None])

    of_positions.__name__ = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    return of_positions


def _seen(setting: Setting, loss_fn: Callable[..., Any]) -> LossXray:
    meant, classes = setting.manifest.distillation, setting.manifest.num_classes or 10
    return xray(
        loss_fn,
        loss=meant.loss,
        temperature=meant.temperature,
        alpha=meant.alpha,
        temperature_squared=meant.temperature_squared,
        num_classes=classes if classes <= AS_WIDE else MOST_CLASSES,
    )
