"""Healthy runs that look odd, and faults in other clothes than the demo's: no rule was written against these.

The demo's own faults and their twin are taken from it; here the recipe changes around them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.demo.faults import FAULTS, HEALTHY, Fault, Loop, kl


@dataclass(frozen=True)
class Variant:
    """One loop, and the code that a diagnosis has to name first; none for a healthy run."""

    name: str
    code: str | None
    loop: Loop
    baseline: bool = True


def _mse(student: Tensor, teacher: Tensor, _t: float) -> Tensor:
    return F.mse_loss(student, teacher)


def _reverse(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return kl(teacher, student, t)


def _soft_cross_entropy(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.cross_entropy(student / t, F.softmax(teacher / t, -1)) * t * t


def _sum(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.kl_div(F.log_softmax(student / t, -1), F.softmax(teacher / t, -1), reduction="sum") * t * t


def _once_t(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return kl(student, teacher, t) / t


def _two_exchanged(teacher: torch.nn.Module, _cache: object, _number: int, inputs: Tensor) -> Tensor:
    order = list(range(10))
    order[4], order[9] = 9, 4
    return teacher(inputs)[:, order]


def _rolled(teacher: torch.nn.Module, _cache: object, _number: int, inputs: Tensor) -> Tensor:
    return teacher(inputs).roll(1, 0)


def _other_temperature(student: Tensor, teacher: Tensor, _t: float) -> Tensor:
    return kl(student, teacher, 2.0)


_SOUND = Loop()

HEALTHY_VARIANTS: tuple[Variant, ...] = (
    Variant("twin", None, HEALTHY.loop),
    Variant("no baseline", None, _SOUND, baseline=False),
    Variant("adam", None, replace(_SOUND, optimizer="adam", learning_rate=1e-2)),
    Variant("T = 2, alpha 0.5", None, replace(_SOUND, temperature=2.0, alpha=0.5)),
    Variant("T = 8", None, replace(_SOUND, temperature=8.0)),
    Variant("no labels", None, replace(_SOUND, alpha=1.0)),
    Variant("hardly any teacher", None, replace(_SOUND, alpha=0.1)),
    Variant("squared error, declared", None, replace(_SOUND, kd_loss=_mse, declared_loss="mse", alpha=0.5)),
    Variant("reverse, declared", None, replace(_SOUND, kd_loss=_reverse, declared_loss="reverse-kl")),
    Variant("soft cross-entropy", None, replace(_SOUND, kd_loss=_soft_cross_entropy)),
    Variant("wide student", None, replace(_SOUND, hidden=64)),
    Variant("small student", None, replace(_SOUND, hidden=8, epochs=120)),
    Variant("large batches", None, replace(_SOUND, batch_size=100, epochs=150)),
    Variant("long schedule", None, replace(_SOUND, epochs=150)),
    Variant("a teacher of 400 examples", None, replace(_SOUND, teacher_examples=400)),
)
FAULTY_VARIANTS: tuple[Variant, ...] = (
    *(Variant(fault.name, fault.code, fault.loop) for fault in FAULTS),
    Variant("two classes exchanged", "KD105", replace(_SOUND, targets=_two_exchanged)),
    Variant("rolled by one row", "KD106", replace(_SOUND, targets=_rolled)),
    Variant("summed over the batch", "KD208", replace(_SOUND, kd_loss=_sum)),
    Variant("T once", "KD202", replace(_SOUND, kd_loss=_once_t)),
    Variant("another temperature", "KD211", replace(_SOUND, kd_loss=_other_temperature)),
    Variant("squared error, undeclared", "KD211", replace(_SOUND, kd_loss=_mse)),
)


def as_fault(variant: Variant) -> Fault:
    """What the demo's loop takes."""
    return Fault(variant.code or "", variant.name, variant.name, variant.loop)
