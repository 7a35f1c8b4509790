"""How a treatment trains: the run's own schedule, with every gap filled."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from kddoctor.run.directory import Run
from kddoctor.run.manifest import Training

DEFAULT_EPOCHS, DEFAULT_BATCH, DEFAULT_RATE, DEFAULT_MOMENTUM = 20, 64, 1e-3, 0.9

#: Share of its highest value below which a rate trains nothing, and share of a run by which none is meant to be there.
SPENT, SPENT_BY = 0.01, 0.5
#: Multiple of the declared rate at which none that is meant so ends: warm-ups end at it, and decays below it.
RISEN = 2.0

#: From the share of the schedule that is done, 0 to 1, to the share of the learning rate that applies.
Shape = Callable[[float], float]


@dataclass(frozen=True)
class Schedule:
    """The training section with every gap filled by an ordinary value."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    seed: int


def schedule_of(t: Training) -> Schedule:
    """What a manifest's training section says."""
    return Schedule(
        epochs=t.epochs or DEFAULT_EPOCHS,
        batch_size=t.batch_size or DEFAULT_BATCH,
        optimizer=(t.optimizer or "adam").lower(),
        learning_rate=t.learning_rate or DEFAULT_RATE,
        momentum=DEFAULT_MOMENTUM if t.momentum is None else t.momentum,
        weight_decay=t.weight_decay or 0.0,
        seed=t.seed or 0,
    )


def recorded_epochs(run: Run) -> int | None:
    """How many epochs the run logged; None where its metrics count none."""
    seen = [int(epoch) for epoch in (row.get("epoch") for row in run.metrics) if _is_number(epoch) and epoch >= 0]
    return max(seen) + 1 if seen else None


def make_optimizer(schedule: Schedule, student: nn.Module) -> torch.optim.Optimizer:
    """SGD, AdamW or Adam; an optimiser that is not known here becomes Adam."""
    parameters, rate, decay = student.parameters(), schedule.learning_rate, schedule.weight_decay
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=schedule.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if schedule.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, rate, weight_decay=decay)


def recorded_shape(run: Run) -> Shape:
    """The course of the learning rate as the run logged it, as a share of where it began; constant where it did not.

    The treated student should differ from the sick one by the treatment, not by another warm-up or decay. A course
    that was spent long before the end of the run, or ends far above the declared rate, is none to follow: then it is
    ``falling``.
    """
    pairs = sorted(
        (float(step), float(rate))
        for step, rate in ((row.get("step"), row.get("lr")) for row in run.metrics)
        if _is_number(step) and _is_number(rate) and rate >= 0
    )
    steps, rates = np.array(pairs, float).reshape(-1, 2).T
    declared = run.manifest.training.learning_rate
    base = declared or (float(rates.max()) if len(rates) else 0.0)
    if len(rates) < 2 or steps[-1] <= steps[0] or not base:
        return constant
    done = (steps - steps[0]) / (steps[-1] - steps[0])
    if (rates[done >= SPENT_BY] < SPENT * rates.max()).all() or rates[-1] > RISEN * base:
        return falling
    return lambda share: float(np.interp(share, done, rates / base))


def _is_number(value: object) -> TypeGuard[float]:
    # 2^53: beyond it, neighbouring steps are one number.
    return isinstance(value, int | float) and abs(value) < 2**53  # false for NaN and the infinities, too


def constant(_share: float) -> float:
    """The learning rate never changes."""
    return 1.0


def falling(share: float) -> float:
    """The learning rate stays for half of the schedule, and falls to zero as a cosine in the other half."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, 2 * share - 1))))


def make_scheduler(optimizer: torch.optim.Optimizer, shape: Shape, steps: int) -> LambdaLR:
    """The shape stretched over ``steps`` training steps; call step() after each."""
    return LambdaLR(optimizer, lambda step: shape(step / max(1, steps - 1)))
