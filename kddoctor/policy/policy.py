"""A policy: which codes count and how much, what success means, which thresholds are other ones, what is accepted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from kddoctor.errors import one_line
from kddoctor.rules.finding import Severity

FailOn = Literal["error", "warning"]


@dataclass(frozen=True)
class Accepted:
    """A finding that somebody knows of and lives with. run: glob over the names of run directories.

    expires: the last day on which it holds; None for no end.
    """

    code: str
    reason: str
    expires: date | None = None
    run: str = "*"

    def concerns(self, code: str, run: str) -> bool:
        """Whether it is about this code in this run, expired or not."""
        return code == self.code and fnmatchcase(run, self.run)

    def __str__(self) -> str:
        until = f" until {self.expires}" if self.expires else ""
        return one_line(f"{self.code} is accepted{until}: {self.reason}")

    def expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return self.expires is not None and today > self.expires


@dataclass(frozen=True)
class Held:
    """What runs are held against. file: the baseline. run: glob over the names of run directories.

    level: probability of failing a re-run with another seed, None for the usual one. margins: by figure, changes for
    the worse that nobody minds, in place of the usual ones; shares of the number for latency, size and parameters.
    """

    file: Path
    run: str = "*"
    level: float | None = None
    margins: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """Read by ``read_policy``; the default one changes nothing.

    file: where it stands, None where there is none. select, ignore: codes or prefixes of codes. require: codes that
    must have been examined. severity: by code or prefix. targets: what replaces the manifest's. fail_on, confidence:
    severity and confidence from which a cause fails a gate. settings: thresholds by code and name. baseline: what runs
    are held against, None for nothing.
    """

    file: Path | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    severity: Mapping[str, Severity] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    accepted: tuple[Accepted, ...] = ()
    fail_on: FailOn = "warning"
    confidence: float = 0.0
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    baseline: Held | None = None

    @property
    def source(self) -> str:
        """The name of its file, as messages and evidence give it."""
        return "the policy" if self.file is None else self.file.name

    def severity_of(self, code: str) -> Severity | None:
        """The severity that was set for a code; the longest prefix decides. None where none was."""
        matching = [prefix for prefix in self.severity if code.startswith(prefix)]
        return self.severity[max(matching, key=len)] if matching else None

    def held_against(self, run: str) -> Held | None:
        """The baseline of a run, by its directory's name."""
        held = self.baseline
        return held if held is not None and fnmatchcase(run, held.run) else None

    def acceptance(self, code: str, run: str, today: date) -> Accepted | None:
        """The first acceptance of a code in a run (by its directory's name) that has not expired."""
        return next((a for a in self.accepted if a.concerns(code, run) and not a.expired(today)), None)
