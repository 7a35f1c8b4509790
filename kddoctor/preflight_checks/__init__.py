"""Checks of models, data and loss before a distillation is trained: minutes on a CPU instead of hours on a GPU."""

from kddoctor.preflight_checks.examine import preflight
from kddoctor.preflight_checks.result import Check, Preflight, PreflightError

__all__ = ["Check", "Preflight", "PreflightError", "preflight"]
