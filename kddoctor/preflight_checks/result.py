"""What a pre-flight finds."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from kddoctor.errors import KDDoctorError, one_line

Status = Literal["ok", "fail", "not checked"]
Verdict = Literal["healthy", "sick", "inconclusive"]

#: Checks without which nobody can say that a distillation may start.
NEEDED = ("shapes", "teacher accuracy", "gradient reach")


class PreflightError(KDDoctorError, AssertionError):
    """A check failed, or one that is needed could not be made; the message names each."""


@dataclass(frozen=True)
class Check:
    """One question about the set-up. text: what was seen, or why it was not looked at. codes: of the catalogue, for a
    check that failed. evidence: what was measured, beyond the text. fix: what to change.
    """

    name: str
    status: Status
    text: str
    codes: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    fix: str | None = None

    def __post_init__(self) -> None:
        # Texts hold names of the user's, whose control characters would reach the terminal.
        object.__setattr__(self, "text", one_line(self.text))
        object.__setattr__(self, "evidence", tuple(map(one_line, self.evidence)))

    def __str__(self) -> str:
        codes = f" ({', '.join(self.codes)})" if self.codes else ""
        return f"{self.name}{codes}: {self.text}"


@dataclass(frozen=True)
class Preflight:
    """All checks that this kind of task can have, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks that found a fault."""
        return tuple(check for check in self.checks if check.status == "fail")

    @property
    def unmade(self) -> tuple[Check, ...]:
        """Needed checks that could not be made."""
        return tuple(check for check in self.checks if check.status == "not checked" and check.name in NEEDED)

    @property
    def verdict(self) -> Verdict:
        """sick: a check failed. inconclusive: none did, and a needed one could not be made."""
        if self.failed:
            return "sick"
        return "inconclusive" if self.unmade else "healthy"

    @property
    def ok(self) -> bool:
        """No check failed, and every needed one was made."""
        return self.verdict == "healthy"

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the failed checks."""
        return tuple(code for check in self.failed for code in check.codes)

    def __bool__(self) -> bool:
        return self.ok

    def raise_if_bad(self) -> None:
        """Raises PreflightError, an AssertionError, where ``ok`` is false."""
        bad = self.failed or self.unmade
        if bad:
            raise PreflightError("; ".join(map(str, bad)))

    def to_json(self) -> str:
        """The checks as JSON, the same bytes for the same set-up."""
        data = {"format": 1, "verdict": self.verdict, "ok": self.ok, "checks": [asdict(check) for check in self.checks]}
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        return "\n".join(f"{check.status:<11}  {check}" for check in self.checks)
