"""The registry of rules: one decorated function for each code, found by importing every module below here."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import kddoctor.rules
from kddoctor.errors import UsageError
from kddoctor.rules.custom import failed, how_to_record
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.record import RECORD

Family = Literal[
    "pipeline",
    "loss",
    "soft-targets",
    "capacity",
    "optimisation",
    "data",
    "deployment",
    "sequence-LM",
    "recsys",
]
Verdict = Finding | NotExamined
Measurements = Mapping[type, object]


@dataclass(frozen=True)
class Rule:
    """One failure mode.

    stage: place in the decision order, upstream first. masks: codes whose statistical evidence this cause, once
    established, explains. implies: codes whose proofs follow from this cause, once it is itself proven. last: any
    other cause may bring this about, and explains it. only: kinds of tasks that can have it (none: all). reads:
    measurement types it cannot do without; uses: those it takes when present. package: which package it comes from,
    with its version; empty for kddoctor's own.
    """

    code: str
    name: str
    family: Family
    title: str
    stage: int
    reads: tuple[type, ...]
    uses: tuple[type, ...]
    masks: tuple[str, ...]
    implies: tuple[str, ...]
    last: bool
    only: tuple[str, ...]
    judge: Callable[..., Verdict]
    page: str
    package: str = ""

    def __call__(self, measurements: Measurements) -> Verdict:
        """Judge, or say what is missing."""
        for kind in self.reads:
            if kind not in measurements:
                needs, how = RECORD.get(kind.__name__) or how_to_record(kind)
                return NotExamined(needs, how)
        required = [measurements[kind] for kind in self.reads]
        optional = [measurements.get(kind) for kind in self.uses]
        if not self.package:
            return self.judge(*required, *optional)
        try:
            found = self.judge(*required, *optional)
            if not isinstance(found, Finding | NotExamined):
                raise TypeError(f"it returned a {type(found).__name__}; expected a Finding or NotExamined")
            return found
        except Exception as error:  # another package's mistake; all other codes are still judged
            return failed(self.package, self.code, error)


class CodeClashError(UsageError):
    """Two rules have the same code or name."""


_RULES: dict[str, Rule] = {}


def rule(
    code: str,
    *,
    name: str,
    family: Family,
    title: str,
    stage: int,
    reads: tuple[type, ...],
    uses: tuple[type, ...] = (),
    masks: tuple[str, ...] = (),
    implies: tuple[str, ...] = (),
    last: bool = False,
    only: tuple[str, ...] = (),
) -> Callable[[Callable[..., Verdict]], Callable[..., Verdict]]:
    """Register the function that judges ``code``. Its module's docstring is the explain page."""

    def register(judge: Callable[..., Verdict]) -> Callable[..., Verdict]:
        page = inspect.getdoc(inspect.getmodule(judge)) or ""
        known = _RULES.get(code)
        if known is not None and known.judge.__module__ != judge.__module__:
            raise _clash(code, known.judge, judge)
        _RULES[code] = Rule(code, name, family, title, stage, reads, uses, masks, implies, last, only, judge, page)
        return judge

    return register


def registered() -> Mapping[str, Rule]:
    """Every rule whose module was imported, by code."""
    return _RULES


@cache
def all_rules() -> Mapping[str, Rule]:
    """Every rule by code, in the order of the codes: kddoctor's own, and those of installed packages.

    Raises CodeClashError where two have the same code or name.
    """
    from kddoctor.rules.plugins import load_plugins

    for module in pkgutil.walk_packages(kddoctor.rules.__path__, "kddoctor.rules."):
        importlib.import_module(module.name)
    own = {code: rule for code, rule in _RULES.items() if rule.judge.__module__.startswith("kddoctor.rules.")}
    rules = dict(sorted({**own, **load_plugins()}.items()))
    by_name: dict[str, Rule] = {}
    for rule in rules.values():
        if by_name.setdefault(rule.name, rule) is not rule:
            raise _clash(rule.name, by_name[rule.name].judge, rule.judge)
    return rules


def _clash(what: str, first: Callable[..., Verdict], second: Callable[..., Verdict]) -> CodeClashError:
    return CodeClashError(
        f"{what} is defined in {first.__module__} and in {second.__module__}; uninstall one of the packages"
    )
