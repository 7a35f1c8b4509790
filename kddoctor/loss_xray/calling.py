"""Calling a loss of unknown making: how many tensors it takes, what it returns, what its gradients are."""

import copy
import inspect
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.errors import UsageError
from kddoctor.loss_xray.batches import SEED, Batch

#: Names of a third parameter that is no labels.
SETTINGS = frozenset({"t", "tau", "temp", "temperature", "alpha", "beta", "gamma", "lambda_", "weight"})


@dataclass(frozen=True)
class Gradients:
    """value: of the loss. student, teacher: gradients, shaped like the input, or None where autograd finds no path."""

    value: float
    student: Tensor | None
    teacher: Tensor | None


class LossCall:
    """A loss as ``(student, teacher, labels)``, or as ``(student, teacher)`` where it takes no labels."""

    def __init__(self, loss_fn: Callable[..., Any]) -> None:
        if not callable(loss_fn):
            raise UsageError(f"xray takes a loss function; a {type(loss_fn).__name__} cannot be called")
        self.takes_labels = _takes_labels(loss_fn)
        if isinstance(loss_fn, nn.Module):
            # A module may count its calls (batch statistics, schedules): the user's own stays as it is.
            with suppress(Exception):
                loss_fn = copy.deepcopy(loss_fn)
        self._loss_fn = loss_fn
        self.name = getattr(loss_fn, "__name__", None) or type(loss_fn).__name__

    def _call(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Any:
        arguments = (student, teacher, labels) if self.takes_labels else (student, teacher)
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kl_div warns of reduction="mean", which is reported better here
            torch.manual_seed(SEED)  # a loss that draws random numbers draws the same ones every time
            returned = self._loss_fn(*arguments)
        size = returned.numel() if isinstance(returned, Tensor) else 1
        if size != 1 or not isinstance(returned, Tensor | float | int):
            kind = (
                f"a tensor of shape {list(returned.shape)}" if isinstance(returned, Tensor) else type(returned).__name__
            )
            raise UsageError(f"{self.name} returns {kind}; expected one scalar tensor, the loss")
        return returned

    def value(self, batch: Batch) -> float:
        """The loss of a batch."""
        found = self._call(batch.student.clone(), batch.teacher.clone(), batch.labels.clone())
        return float(found.detach() if isinstance(found, Tensor) else found)

    def gradients(self, batch: Batch) -> Gradients:
        """The loss of a batch and its gradients for both sides."""
        student = batch.student.detach().clone().requires_grad_()
        teacher = batch.teacher.detach().clone().requires_grad_()
        loss = self._call(student, teacher, batch.labels.clone())
        if not isinstance(loss, Tensor) or loss.grad_fn is None:
            return Gradients(float(loss.detach() if isinstance(loss, Tensor) else loss), None, None)
        of_student, of_teacher = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
        return Gradients(float(loss.detach()), of_student, of_teacher)

    def finite(self, batch: Batch) -> bool:
        """Whether value and gradient are numbers."""
        found = self.gradients(batch)
        return math.isfinite(found.value) and (found.student is None or bool(found.student.isfinite().all()))


def _takes_labels(loss_fn: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(loss_fn.forward if isinstance(loss_fn, nn.Module) else loss_fn)
    except (TypeError, ValueError):
        return True
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(signature.parameters.values())
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return True
    places = [p for p in parameters if p.kind in kinds]
    if len(places) < 2:
        raise UsageError("the loss takes fewer than two tensors; expected (student, teacher) or with labels third")
    if len(places) == 2:
        return False
    third = places[2]
    setting = third.name.lower() in SETTINGS
    if setting and third.default is inspect.Parameter.empty:
        raise UsageError(f"the loss takes {third.name} third; bind it first, as with functools.partial")
    return not setting


def working_dtype(call: LossCall, batch: Batch) -> torch.dtype:
    """float64 where the loss takes it, else float32. Raises UsageError, one line, where it takes neither."""
    problem: Exception | None = None
    for dtype in (torch.float64, torch.float32):
        try:
            call.gradients(batch.to(dtype))
        except UsageError:
            raise
        except Exception as error:  # the user's function may raise anything
            problem = error
        else:
            return dtype
    shapes = f"{list(batch.student.shape)} and {list(batch.teacher.shape)}"
    raise UsageError(
        f"{call.name} fails on inputs of shape {shapes} ({type(problem).__name__}: {problem}); "
        "say what it takes with num_classes, student_shape and teacher_shape"
    )
