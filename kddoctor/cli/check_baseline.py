"""What ``kddoctor check`` does with baselines."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kddoctor.policy import Policy


def expiry_of(text: str | None) -> date | None:
    """A date as typed. Raises UsageError for anything else."""
    from kddoctor.errors import UsageError, shown

    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--expires is {shown(text)}; expected a date, as in 2027-01-01") from None


def save(run_dirs: Sequence[Path], file: Path, policy: "Policy", reason: str | None, expires: date | None) -> None:
    """Diagnose runs and save them as a baseline."""
    from kddoctor.baselines import save_baseline
    from kddoctor.engine import diagnose
    from kddoctor.errors import UsageError
    from kddoctor.run import load

    if not reason:
        raise UsageError("--save-baseline needs --reason TEXT: what makes these runs the ones to compare with")
    runs = [load(path) for path in run_dirs]
    save_baseline(runs, [diagnose(run, policy=policy) for run in runs], file, reason=reason, expires=expires)


def the_only(run_dirs: Sequence[Path]) -> Path:
    """The one run that is checked. Raises UsageError where there are several."""
    from kddoctor.errors import UsageError

    if len(run_dirs) > 1:
        raise UsageError(f"{len(run_dirs)} runs are given; one is checked at a time, several are for --save-baseline")
    return run_dirs[0]


def held_against(policy: "Policy", file: Path) -> "Policy":
    """The policy, with this baseline in place of its own for every run; level and margins stay."""
    from dataclasses import replace

    from kddoctor.policy import Held

    held = Held(file) if policy.baseline is None else replace(policy.baseline, file=file, run="*")
    return replace(policy, baseline=held)
