"""What ``kddoctor check`` does with baselines."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kddoctor.baselines import Baseline, Regressions
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


def compared(run_dir: Path, baseline: "Baseline", diagnosis: str) -> "Regressions":
    """Hold a run, with its diagnosis as JSON, against a baseline."""
    from kddoctor.baselines import compare
    from kddoctor.engine import Diagnosis
    from kddoctor.run import load

    return compare(load(run_dir), Diagnosis.model_validate_json(diagnosis), baseline)
