"""The X-ray itself: call the loss, measure, judge."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from kddoctor.errors import UsageError
from kddoctor.loss_xray.batches import Batch, Shapes, batches
from kddoctor.loss_xray.calling import LossCall, working_dtype
from kddoctor.loss_xray.dependence import dependence
from kddoctor.loss_xray.fixed_point import fixed_point
from kddoctor.loss_xray.judging import judge
from kddoctor.loss_xray.label_term import LabelTerm, label_term
from kddoctor.loss_xray.numerics import DTYPES, numerics
from kddoctor.loss_xray.reduction import Reduction, reduction
from kddoctor.loss_xray.result import Facts, LossXray
from kddoctor.loss_xray.symmetry import symmetry
from kddoctor.loss_xray.term import find_term
from kddoctor.loss_xray.tokens import tokens
from kddoctor.loss_xray.weights import weigh
from kddoctor.probes.loss_forms import declared_form
from kddoctor.probes.loss_results import Declared

LOSSES = ("kl", "reverse-kl", "jsd", "mse", "none", "custom")


def xray(
    loss_fn: Callable[..., Any],
    *,
    loss: str | None = None,
    temperature: float | None = None,
    alpha: float | None = None,
    temperature_squared: bool = True,
    num_classes: int = 10,
    student_shape: Sequence[int] | None = None,
    teacher_shape: Sequence[int] | None = None,
    teacher_frozen: bool = True,
    precision: str = "fp32",
    rows: int = 7,
    seed: int = 0,
) -> LossXray:
    """What ``loss_fn`` computes and what is wrong with it, seen from outside.

    loss_fn: ``(student_logits [B, C], teacher_logits [B, C], labels [B]) -> scalar tensor``, the same without labels,
    an ``nn.Module``, or over features where shapes are given. loss (kl, reverse-kl, jsd, mse, custom), temperature,
    alpha (weight of the distillation term), temperature_squared: what it is meant to be, as in the manifest; what is
    left out is not judged. student_shape, teacher_shape: shape of one row of features. teacher_frozen: the
    teacher's outputs come without gradient (``torch.no_grad``), so that a loss need not detach them.
    precision (fp32, fp16, bf16): of the logits that it is given; under autocast, fp32. rows: batch size of the probes.

    Raises UsageError, one line, where the loss cannot be called or returns no scalar.
    """
    _check(loss, temperature, alpha, num_classes, rows)
    if precision not in DTYPES:
        raise UsageError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}")
    call = LossCall(loss_fn)
    shapes = _shapes(num_classes, student_shape, teacher_shape)
    declared = Declared(declared_form(loss, temperature), alpha, temperature, temperature_squared)
    dtype = working_dtype(call, batches(shapes, torch.float64, rows=rows, seed=seed)[0])
    probes = batches(shapes, dtype, rows=rows, seed=seed)
    facts = _measure(call, probes, shapes, declared)
    problems = judge(facts, declared, loss, teacher_frozen=teacher_frozen, precision=precision)
    return LossXray(call.name, facts, problems, tuple(_notes(facts)))


def _check(loss: str | None, temperature: float | None, alpha: float | None, num_classes: int, rows: int) -> None:
    if loss is not None and loss not in LOSSES:
        raise UsageError(f"loss is {loss!r}; expected one of {', '.join(LOSSES)}")
    if temperature is not None and not 0 < temperature < float("inf"):
        raise UsageError(f"temperature is {temperature}; expected a number above 0")
    if alpha is not None and not 0 <= alpha < float("inf"):
        raise UsageError(f"alpha is {alpha}; expected a weight, 0 or above")
    if num_classes < 2 or rows < 3:
        raise UsageError(f"num_classes is {num_classes} and rows is {rows}; expected at least 2 and 3")


def _shapes(classes: int, student: Sequence[int] | None, teacher: Sequence[int] | None) -> Shapes:
    if student is None and teacher is None:
        return Shapes((classes,), (classes,), classes, features=False)
    own = tuple(student or teacher or ())
    return Shapes(own, tuple(teacher or own), classes, features=True)


def _measure(call: LossCall, probes: Sequence[Batch], shapes: Shapes, declared: Declared) -> Facts:
    sees = dependence(call, probes, shapes.classes)
    features = shapes.features
    logits = not features
    labels = label_term(call, probes, shapes.classes) if logits else _no_labels()
    live = sees.teacher and sees.student
    term = find_term(call, probes, labels, declared, features=features) if live else None
    divided = reduction(call, probes, features=features) if live else Reduction("unknown", 1.0)
    point = fixed_point(call, probes, labels) if live else None
    return Facts(
        precision="fp64" if probes[0].student.dtype == torch.float64 else "fp32",
        features=features,
        takes_labels=call.takes_labels,
        dependence=sees,
        labels=labels,
        term=term,
        reduction=divided,
        weights=None if term is None else weigh(term, labels, divided, declared, shapes.classes),
        symmetry=symmetry(call, probes) if live and logits else None,
        fixed_point=point,
        numerics=numerics(call, probes),
        tokens=tokens(call, shapes.classes, probes[0].student.dtype) if logits else None,
        smallest=point.smallest if point is not None else float("nan"),
    )


def _no_labels() -> LabelTerm:
    return LabelTerm(0.0, True, False, False)


def _notes(facts: Facts) -> Iterator[str]:
    if facts.dependence.teacher_gradient:
        yield "a gradient would reach the teacher: call it under torch.no_grad(), or detach its outputs here"
    if facts.dependence.teacher and facts.term is None:
        yield "the formula is unknown here, so its temperature, direction and weights are not judged"
    tempered = facts.term is not None and facts.term.student_temperature not in (None, 1.0)
    if tempered and facts.weights is not None and facts.weights.scale is None:
        yield f"weight and T² cannot be told apart in the factor {facts.weights.product:.4g}; declare alpha"
    point = facts.fixed_point
    if point is not None and not point.holds and not facts.at_rest:
        yield f"a student equal to the teacher is still pulled, by {point.pull:.2g} of a usual gradient"
