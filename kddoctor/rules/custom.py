"""Measurements that another package takes for rules of its own."""

import logging
from collections.abc import Callable, Container
from dataclasses import dataclass

from kddoctor.errors import one_line
from kddoctor.rules.finding import NotExamined
from kddoctor.run.directory import Run

Take = Callable[[Run], object | None]


@dataclass(frozen=True)
class CustomMeasurement:
    """How to take measurements of one type, and what has to be recorded for that, and how."""

    kind: type
    needs: tuple[str, ...]
    how: str
    take: Take


_log = logging.getLogger("kddoctor")
_TAKEN: dict[type, CustomMeasurement] = {}


def measurement(kind: type, *, needs: tuple[str, ...], how: str) -> Callable[[Take], Take]:
    """Register a function that measures a run: it returns a ``kind``, or None where the record does not allow it.

    needs: files or keys of the run directory. how: the sentence that tells users what to record.
    """

    def register(take: Take) -> Take:
        known = _TAKEN.get(kind)
        if known is not None and known.take.__module__ != take.__module__:
            raise ValueError(f"{kind.__name__} is measured in {known.take.__module__} and in {take.__module__}")
        _TAKEN[kind] = CustomMeasurement(kind, needs, how, take)
        return take

    return register


def custom_measurements(kinds: Container[type]) -> tuple[CustomMeasurement, ...]:
    """Those of the given types that were registered, in a fixed order."""
    chosen = (item for item in _TAKEN.values() if item.kind in kinds)
    return tuple(sorted(chosen, key=lambda item: (item.kind.__module__, item.kind.__qualname__)))


def how_to_record(kind: type) -> tuple[tuple[str, ...], str]:
    """What a measurement needs, and how to record it; for one that nobody takes, that this is so."""
    known = _TAKEN.get(kind)
    if known is None:
        return (kind.__name__,), f"nothing that is installed measures {kind.__module__}.{kind.__qualname__}"
    return known.needs, known.how


def failed(package: str, what: str, error: Exception) -> NotExamined:
    """What is to be said of a rule or measurement of another package that raised an error; the log gets a line, too."""
    reason = one_line(f"{what} of {package} failed: {type(error).__name__}: {error}")
    _log.warning(f"warning: {reason}")
    return NotExamined((package,), reason)
