"""One call from recorded arrays to what forensics says about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kddoctor.probes.loss_forensics import (
    Declared,
    LossForensics,
    LossForensicsProbe,
    RecordedSteps,
    investigate,
)
from kddoctor.probes.loss_forms import declared_form
from tests.builders import World

COLUMNS = ("loss", "kd_loss", "ce_loss", "feature_loss")


def logits(steps: int = 8, batch: int = 24, classes: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    """Logits and labels of a training run, without its losses: the student starts far off and comes close."""
    world = World(classes=classes, seed=seed)
    columns: dict[str, list[np.ndarray]] = {"student_logits": [], "teacher_logits": [], "labels": []}
    for k in range(steps):
        labels = world.labels(batch, k)
        teacher = world.teacher(labels, k)
        columns["labels"].append(labels)
        columns["teacher_logits"].append(teacher)
        columns["student_logits"].append(world.student(teacher, k, 0.2 + 0.8 * k / max(1, steps - 1)))
    return {name: np.stack(values) for name, values in columns.items()}


def asked(recorded: Mapping[str, np.ndarray], *, chunk: int | None = None, **how: Any) -> LossForensics:
    """Forensics over recorded arrays: one probe for each temperature grid, fed in chunks."""
    return investigate(lambda extra: fed(recorded, chunk=chunk, temperatures=extra, **how))


def fed(
    recorded: Mapping[str, np.ndarray],
    *,
    loss: str | None = "kl",
    temperature: float | None = 4.0,
    alpha: float | None = 0.9,
    squared: bool = True,
    chunk: int | None = None,
    steps: slice = slice(None),
    **options: Any,
) -> LossForensicsProbe:
    """A probe that was shown the steps."""
    declared = Declared(declared_form(loss, temperature), alpha, temperature, squared)
    probe = LossForensicsProbe(declared, **options)
    part = {name: values[steps] for name, values in recorded.items()}
    size = chunk or len(part["loss"])
    for start in range(0, len(part["loss"]), size):
        probe.update(RecordedSteps(**{name: values[start : start + size] for name, values in part.items()}))
    return probe


def named(found: LossForensics) -> tuple[str, float | None, str, str]:
    """(family, temperature, reduction, scale) of what ran, or nothing where no form was found."""
    term = found.term
    if term is None:
        return ("nothing", None, "", "")
    first = term.explanations[0] if term.explanations else None
    temperature = term.form.temperature
    return (
        term.form.family,
        None if temperature is None else round(temperature, 3),
        first.reduction if first else "",
        first.scale if first else "",
    )
