"""A few steps of the loop that update nothing: what the loss sees, and what its gradient reaches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kddoctor.preflight_checks.sample import ELEMENTS, spread
from kddoctor.preflight_checks.setting import Setting, as_in_the_loop
from kddoctor.run.arrays import Array
from kddoctor.run.recording.batches import Batch, first_rows
from kddoctor.run.recording.gradients import GradientWatch
from kddoctor.run.recording.live import LiveSteps
from kddoctor.run.recording.teachers import teachers_in

STEPS = 6
#: Of all of them in memory; their rows are bounded as well.
MAX_BYTES = 1 << 30
#: Rows of a step, at least: batch statistics of fewer say nothing.
FEWEST_IN_STEP = 8


@dataclass(frozen=True)
class DrySteps:
    """arrays, observations: as a recorder writes them. outside: names of the student's parameters that the loss does
    not depend on at any step; without_gradient: those and all whose gradient is zero. teacher_reached: a gradient
    would reach the teacher if it were not run under ``torch.no_grad``.
    """

    arrays: dict[str, Array]
    observations: dict[str, Any]
    outside: tuple[str, ...]
    without_gradient: tuple[str, ...]
    teacher_reached: bool


def take_dry_steps(setting: Setting, elements_a_row: int) -> DrySteps:
    """Run a few batches through models and loss as the loop would. Raises whatever models, data and loss raise."""
    errors: list[Exception] = []
    live = LiveSteps(
        teachers_in(setting.teacher),
        setting.student,
        setting.optimizers,
        task=setting.manifest.task,
        transform=setting.transform,
        max_steps=STEPS,
        max_bytes=MAX_BYTES,
        rows=None,
        on_error=errors.append,
    )
    outside = {name for name, parameter in setting.student.named_parameters() if parameter.requires_grad}
    still = set(outside)
    reached = False
    with as_in_the_loop(setting):
        try:
            for number, batch in enumerate(_batches(setting, elements_a_row)):
                total = _step(live, setting, batch)
                found = _gradients(total, setting)
                outside -= set(found)
                still -= {name for name, gradient in found.items() if bool(gradient.ne(0).any())}
                if not number:
                    reached = _reaches_teacher(setting, batch)
        finally:
            live.close()
    observations = {**live.observations(), **_of_optimizers(setting, still, live.count)}
    return DrySteps(live.sample.arrays(), observations, tuple(sorted(outside)), tuple(sorted(still)), reached)


def _batches(setting: Setting, elements_a_row: int) -> list[Batch]:
    source = spread(setting.sources["train"], setting.examples)
    # All steps together take as many rows as a split may.
    fits = max(FEWEST_IN_STEP, min(setting.examples // STEPS, ELEMENTS // max(1, STEPS * elements_a_row)))
    found = []
    for batch in source.batches(setting.examples):
        rows = min(fits, batch.size)
        labels = None if batch.labels is None else batch.labels[:rows]
        found.append(Batch(first_rows(batch.inputs, rows, batch.size), labels, rows))
        if len(found) == STEPS:
            break
    # A last batch of another size cannot stand in one record with the others, nor can one row be normalised.
    return [batch for batch in found if batch.size == found[0].size]


def _step(live: LiveSteps, setting: Setting, batch: Batch) -> Tensor:
    with torch.no_grad():
        teacher = setting.logits("teacher", batch)
    student = setting.logits("student", batch)
    if batch.labels is None:
        raise TypeError("a batch has no labels")
    labels = batch.labels.to(student.device)
    total, terms = setting.loss(student, teacher, labels)
    if not isinstance(total, Tensor) or total.numel() != 1:
        raise TypeError("the loss is no scalar tensor")
    tensors: dict[str, Tensor | None] = {"student_logits": student, "teacher_logits": teacher, "labels": labels}
    live.step(total, terms, tensors, example_ids=None, epoch=None, number=None, scalars={})
    return total


def _gradients(total: Tensor, setting: Setting) -> Mapping[str, Tensor]:
    """Gradients of the student's parameters that the loss depends on, without touching any ``.grad``."""
    named = {name: p for name, p in setting.student.named_parameters() if p.requires_grad}
    if total.grad_fn is None or not named:
        return {}
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(named, found, strict=True) if gradient is not None}


def _reaches_teacher(setting: Setting, batch: Batch) -> bool:
    shared = {id(parameter) for parameter in setting.student.parameters()}
    own = [p for p in setting.teacher.parameters() if p.requires_grad and id(p) not in shared]
    if not own:
        return False
    teacher, student = setting.logits("teacher", batch), setting.logits("student", batch).detach()
    assert batch.labels is not None
    total, _ = setting.loss(student.requires_grad_(), teacher, batch.labels.to(student.device))
    if not isinstance(total, Tensor) or total.grad_fn is None:
        return False
    return any(g is not None for g in torch.autograd.grad(total, own, allow_unused=True))


def _of_optimizers(setting: Setting, still: set[str], steps: int) -> dict[str, object]:
    watch = GradientWatch(
        setting.student,
        setting.teacher,
        setting.optimizers,
        wants_norm=lambda: False,
        on_norm=lambda _: None,
        on_error=lambda _: None,
    )
    watch.close()
    watch.without_gradient, watch.looks = still, steps
    return watch.observations()
