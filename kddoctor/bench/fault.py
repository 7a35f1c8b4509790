"""A fault: one code, and the ways in which a person makes that mistake, as edits of a sound recipe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from kddoctor.bench.recipe import Recipe
from kddoctor.bench.task import Kind


class Level(IntEnum):
    """How far the knob of a fault is turned. How severe a case is, is measured by its effect, not read off here."""

    MILD = 1
    MODERATE = 2
    SEVERE = 3


#: A sound recipe and the knob to a faulty one.
Edit = Callable[[Recipe, Level], Recipe]
EVERY_KIND: tuple[Kind, ...] = ("multiclass", "ranking", "tokens")


@dataclass(frozen=True)
class Fault:
    """seen: ways that rules were developed with in sight from the start. unseen: ways that were measured first and
    looked at later, so that they are held out no more; those that still are stand in ``held_out``.

    kinds: tasks in which the mistake can be made. knob: whether the level changes anything.
    """

    code: str
    seen: tuple[Edit, ...]
    unseen: tuple[Edit, ...] = ()
    kinds: tuple[Kind, ...] = EVERY_KIND
    knob: bool = True


@cache
def all_faults() -> Mapping[str, Fault]:
    """Every fault by code, from the files below ``faults/``."""
    import kddoctor.bench.faults

    found: dict[str, Fault] = {}
    for module in iter_modules(kddoctor.bench.faults.__path__):
        fault = import_module(f"kddoctor.bench.faults.{module.name}").FAULT
        assert isinstance(fault, Fault)
        if fault.code in found:
            raise ValueError(f"{fault.code} has two files below faults/, one of them {module.name}.py")
        found[fault.code] = fault
    return dict(sorted(found.items()))
