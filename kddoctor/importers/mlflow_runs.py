"""What both of MLflow's stores hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MlflowRun:
    """One run. start: milliseconds since 1970. place: where the file store keeps it, relative to the store."""

    id: str
    name: str
    start: int
    place: str = ""


@dataclass(frozen=True)
class Logged:
    """One value of one metric."""

    key: str
    step: int
    value: float
