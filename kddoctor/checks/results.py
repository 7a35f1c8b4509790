"""What became of one check of one run. Light to import: the pytest plugin is loaded in every session."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kddoctor.baselines import Regressions


class Outcome(StrEnum):
    """Named as pytest names them."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    ERROR = "error"


#: Outcomes of checks that looked and could say something.
RAN = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.XFAILED})
#: In the order in which pytest counts them.
COUNTED = {
    Outcome.FAILED: "failed",
    Outcome.PASSED: "passed",
    Outcome.SKIPPED: "skipped",
    Outcome.XFAILED: "xfailed",
    Outcome.ERROR: "error",
}


#: Code and family of the checks against a baseline, of which no rule has a page.
BASELINE = "baseline"


@dataclass(frozen=True)
class CheckResult:
    """One rule, or one figure of a baseline, as a check of one run. Every text is one line.

    reason: why it was skipped, accepted or failed without a measurement; empty for a plain pass or failure. summary:
    what the finding says. detail: the measurement as a sentence. measure, value, threshold: the same as numbers, None
    where it is none. wanted: what should be there instead. where: place of the fault. watch: what a check that passed
    is suspected of, or a harmless cause.
    """

    code: str
    name: str
    family: str
    title: str
    outcome: Outcome
    reason: str = ""
    summary: str = ""
    detail: str = ""
    measure: str | None = None
    value: float | None = None
    threshold: float | None = None
    wanted: str = ""
    where: str = ""
    watch: str = ""

    @property
    def id(self) -> str:
        """Code, with the name in the brackets in which pytest puts what tells items apart."""
        return f"{self.code}[{self.name}]"

    @property
    def place(self) -> str:
        """Family and name, as in ``loss::missing-t-squared``."""
        return f"{self.family}::{self.name}"

    @property
    def measured(self) -> str:
        """The number and its limit, as in "entropy_ratio 0.011 (limit 0.02)"; empty where nothing was measured."""
        if self.measure is None or self.value is None:
            return ""
        limit = "" if self.threshold is None else f" (limit {self.threshold:.3g})"
        return f"{self.measure} {self.value:.3g}{limit}"

    @property
    def headline(self) -> str:
        """Why it did not pass, in one line."""
        if self.reason:
            return self.reason
        numbers = f"measured {self.measured}" if self.measured else "measured"
        return f"{numbers}: {self.detail}" if self.detail else self.summary

    @property
    def advice(self) -> tuple[str, ...]:
        """What is wanted, where, and where to read on."""
        wanted, where = self.wanted and f"wanted: {self.wanted}", self.where and f"at {self.where}"
        page = "" if self.code == BASELINE else f"kddoctor explain {self.code}"
        return tuple(filter(None, (wanted, where, page)))

    @property
    def message(self) -> str:
        """The failure in two lines."""
        return f"{self.headline}\n{'; '.join(self.advice)}"

    def properties(self) -> list[tuple[str, object]]:
        """What a JUnit file holds beside the outcome; what was not measured is left out."""
        found: dict[str, object] = {
            "kd_code": self.code,
            "kd_name": self.name,
            "kd_family": self.family,
            "kd_measure": self.measure,
            "kd_value": self.value,
            "kd_threshold": self.threshold,
            "kd_watch": self.watch or None,
        }
        return [(name, value) for name, value in found.items() if value is not None]


def counts(results: Iterable[CheckResult]) -> str:
    """How many checks ended how, as in "1 failed, 40 passed, 18 skipped"."""
    outcomes = [result.outcome for result in results]
    found = {outcome: outcomes.count(outcome) for outcome in COUNTED}
    return ", ".join(f"{number} {COUNTED[outcome]}" for outcome, number in found.items() if number)


def by_family(results: Iterable[CheckResult]) -> list[tuple[str, tuple[CheckResult, ...]]]:
    """Checks of each family, in the order in which families are met first."""
    families: dict[str, list[CheckResult]] = {}
    for result in results:
        families.setdefault(result.family, []).append(result)
    return [(family, tuple(members)) for family, members in families.items()]


@dataclass(frozen=True)
class RunChecks:
    """All checks of one run. run: its directory's name. diagnosis: the JSON of the contract. thresholds: the file that
    they come from. unused: acceptances that have nothing to accept, warnings: what was read but not understood in the
    run; one line each. regressions: what the run was held against, for the terminal.
    """

    run: str
    diagnosis: str
    results: tuple[CheckResult, ...]
    thresholds: str = "the defaults"
    unused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    regressions: "Regressions | None" = None

    @property
    def ran(self) -> bool:
        """Whether any check could say anything. A run of which nothing can be said never passes."""
        return any(result.outcome in RAN for result in self.results)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Checks that failed or crashed."""
        return tuple(r for r in self.results if r.outcome in (Outcome.FAILED, Outcome.ERROR))
