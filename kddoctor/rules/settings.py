"""Thresholds that a user may set: the constants of a rule's file whose type says in which unit, and within what range.

    #: Share of the rows from which a limit is no matter of single rows.
    SHARE_OF_ROWS: Share = 0.05

is the setting ``share_of_rows``. Constants without such a type are no settings: identities, and weights of evidence.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from types import FunctionType, ModuleType
from typing import Annotated, Any, get_type_hints

from kddoctor.rules.finding import Evidence, NotExamined
from kddoctor.rules.registry import Rule, Verdict


@dataclass(frozen=True)
class Range:
    """What the values of a setting count, and the least and the largest of them."""

    unit: str
    low: float
    high: float


#: Part of a whole: of rows, of accuracy (0.01 is one point), of a metric or a loss, a probability.
Share = Annotated[float, Range("share", 0, 1)]
Correlation = Annotated[float, Range("correlation", -1, 1)]
#: How many times as much.
Factor = Annotated[float, Range("times", 0, 1e6)]
#: Standard errors or standard deviations.
Deviations = Annotated[float, Range("standard errors or deviations", 0, 1e3)]
#: Between two histograms: the sum of the absolute differences of their shares.
Distance = Annotated[float, Range("distance of histograms", 0, 2)]
Nats = Annotated[float, Range("nats", 0, 1e3)]
Logits = Annotated[float, Range("logits", 0, 1e6)]
#: Multiples of the average fall of the loss.
Pace = Annotated[float, Range("times the average pace", 0, 1e3)]
Temperature = Annotated[float, Range("temperature", 1e-3, 1e3)]
LearningRate = Annotated[float, Range("learning rate", 0, 1e3)]
Count = Annotated[int, Range("count", 0, 10**12)]


@dataclass(frozen=True)
class Setting:
    """One threshold of one rule. name: as in kddoctor.toml. whole: only whole numbers. text: what it means."""

    name: str
    default: float
    whole: bool
    range: Range
    text: str

    @property
    def allowed(self) -> str:
        """What it may be, for people."""
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.range.low:g} to {self.range.high:g} ({self.range.unit})"

    def allows(self, value: object) -> bool:
        """Whether the value has the right type and lies in the range."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.range.low <= value <= self.range.high


def settings_of(rule: Rule) -> Mapping[str, Setting]:
    """Every threshold of a rule that may be set, by name, in the order of its file."""
    module = _module_of(rule)
    texts = _comments(module)
    found = {}
    for constant, hint in get_type_hints(module, include_extras=True).items():
        allowed = next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Range)), None)
        if allowed is not None:
            whole = hint.__origin__ is int
            name = constant.lower()
            found[name] = Setting(name, getattr(module, constant), whole, allowed, texts.get(constant, ""))
    return found


def with_settings(rule: Rule, values: Mapping[str, float], source: str) -> Rule:
    """The rule with other thresholds. Evidence that they changed has an ``origin`` that says so and names ``source``.

    The rule's functions are bound to a namespace of their own: its module, and so every other diagnosis, stays as it
    is.
    """
    known = settings_of(rule)
    set_here = ", ".join(f"{name} = {value:g} (otherwise {known[name].default:g})" for name, value in values.items())
    return replace(rule, judge=_told(rule.judge, _rebound(rule, values), f"set in {source}: {set_here}"))


def _told(plain: Callable[..., Verdict], changed: Callable[..., Verdict], origin: str) -> Callable[..., Verdict]:
    """``changed``, whose evidence names its origin wherever ``plain`` would have given another."""

    @wraps(plain)
    def judge(*measurements: object) -> Verdict:
        found = changed(*measurements)
        if isinstance(found, NotExamined):
            return found
        usual = plain(*measurements)
        known: tuple[Evidence, ...] = () if isinstance(usual, NotExamined) else usual.evidence
        marked = tuple(item if item in known else replace(item, origin=origin) for item in found.evidence)
        return replace(found, evidence=marked)

    return judge


def _rebound(rule: Rule, values: Mapping[str, float]) -> Callable[..., Any]:
    """The judge, and the functions of its file that it calls, over the file's names with these constants."""
    module = _module_of(rule)
    names = {**vars(module), **{name.upper(): value for name, value in values.items()}}
    for name, item in vars(module).items():
        if isinstance(item, FunctionType) and item.__module__ == module.__name__:
            names[name] = _over(item, names)
    return _over(inspect.unwrap(rule.judge), names)


def _over(function: Callable[..., Any], names: dict[str, Any]) -> FunctionType:
    assert isinstance(function, FunctionType)
    bound = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    bound.__kwdefaults__ = function.__kwdefaults__
    return bound


def _module_of(rule: Rule) -> ModuleType:
    return sys.modules[rule.judge.__module__]


def _comments(module: ModuleType) -> Mapping[str, str]:
    """The ``#:`` comment above each constant; one comment serves the constants that follow it without a blank line."""
    try:
        lines = inspect.getsource(module).splitlines()
    except OSError:  # installed without its source
        return {}
    texts: dict[str, str] = {}
    comment: list[str] = []
    started = False
    for line in lines:
        if line.startswith("#:"):
            comment = [*([] if started else comment), line[2:].strip()]
            started = False
        elif comment and ":" in line and line[:1].isupper():
            texts[line.partition(":")[0]] = " ".join(comment)
            started = True
        else:
            comment, started = [], False
    return texts
