"""Results made up for tests, in one line each."""

from __future__ import annotations

from typing import Any

from kddoctor.bench.case import Case, Group
from kddoctor.bench.fault import Level
from kddoctor.bench.judging import Result
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.recording import Outcome
from kddoctor.bench.tier import Tier


def result(
    code: str | None,
    causes: tuple[str, ...] = (),
    *,
    group: Group | None = None,
    student: float = 0.5,
    twin: float = 0.9,
    baseline: float | None = 0.8,
    seed: int = 1,
    name: str = "one",
    task: str = "digits",
    level: Level | None = Level.SEVERE,
    truth: tuple[str, ...] | None = None,
    **changes: Any,
) -> Result:
    """A fault of this code (a healthy run where it is None) that was answered by these causes."""
    group = group or ("fault" if code else "healthy")
    case = Case(
        group,
        task,
        name,
        truth if truth is not None else (code,) if code else (),
        Recipe(epochs=seed),
        seed,
        None if code is None else level,
        changes.pop("unseen_implementation", False),
    )
    values: dict[str, Any] = {
        "verdict": "sick" if causes else "inconclusive" if code else "healthy",
        "ranked": causes,
        "confidence": 0.99 if causes else 0.0,
        "unknown": False,
        "refused": None,
        "seconds": 0.1,
    }
    outcome, healthy = Outcome(0.99, student, baseline, 1.0), Outcome(0.99, twin, baseline, 1.0)
    return Result(case, Tier.FULL, outcome, healthy, causes=causes, **(values | changes))


def sound(seed: int, student: float = 0.9, **changes: Any) -> Result:
    """A healthy run, called healthy."""
    return result(None, student=student, twin=changes.pop("twin", student), seed=seed, **changes)
