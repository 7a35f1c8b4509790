"""The loss terms among the numbers that a trainer logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

#: What people call the terms of steps.safetensors.
NAMES = {
    "kd_loss": ("kd_loss", "distillation_loss", "distill_loss", "loss_kd", "kl_loss", "soft_loss"),
    "ce_loss": ("ce_loss", "student_loss", "loss_ce", "hard_loss", "task_loss", "label_loss"),
    "feature_loss": ("feature_loss", "hint_loss", "loss_feature"),
}
#: What loggers put before and behind a name: "train/kd_loss", "train_kd_loss", "kd_loss_step".
BEFORE, BEHIND = ("train/", "train_", "loss/"), ("_step",)

Value = TypeVar("Value")


def named_terms(logged: Mapping[str, Value]) -> dict[str, Value]:
    """kd_loss, ce_loss and feature_loss, where they are logged under one of their usual names."""
    plain = {_plain(name): value for name, value in logged.items()}
    return {
        term: plain[found] for term, names in NAMES.items() if (found := next((n for n in names if n in plain), None))
    }


def _plain(name: str) -> str:
    for before in BEFORE:
        name = name.removeprefix(before)
    for behind in BEHIND:
        name = name.removesuffix(behind)
    return name
