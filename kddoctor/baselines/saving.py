"""Saving good runs as a baseline, and why."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from kddoctor.baselines.baseline import Baseline, Saved, baseline_of, read_baseline
from kddoctor.baselines.like import refuse_unlike
from kddoctor.baselines.record import record_of
from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.errors import UsageError, one_line
from kddoctor.files import write_whole
from kddoctor.run.directory import Run


def save_baseline(
    runs: Sequence[Run],
    diagnoses: Sequence[Diagnosis],
    path: Path,
    *,
    reason: str,
    expires: date | None = None,
    today: date | None = None,
) -> Baseline:
    """Write runs of one recipe, which differ by their seeds only, as the baseline of later ones.

    A file that is there already is replaced, and its reason and figures are kept as its history. Raises UsageError for
    a sick run, runs of unlike tasks or rows, and a reason that says nothing.
    """
    said = one_line(reason)
    if not said:
        raise UsageError("a baseline needs a reason: what makes this run the one to compare with")
    today = today or date.today()
    if expires is not None and expires < today:
        raise UsageError(f"a baseline that expires on {expires} has expired already")
    for diagnosis in diagnoses:
        if diagnosis.verdict == "sick":
            raise UsageError(f"{diagnosis.run} is sick ({', '.join(diagnosis.cause_codes)}); a baseline is a good run")
    records = [record_of(run, diagnosis) for run, diagnosis in zip(runs, diagnoses, strict=True)]
    for record in records[1:]:
        refuse_unlike(records[0].identity, records[0].name, record)
    history = _history(path)
    baseline = baseline_of(records, reason=said, saved=today, expires=expires, history=history)
    write_whole(path, baseline.to_json())
    return baseline


def _history(path: Path) -> tuple[Saved, ...]:
    if not path.exists():
        return ()
    old = read_baseline(path)
    means = {name: float(values.mean()) for name, values in old.figures.items()}
    return (*old.history, Saved(saved=old.saved, reason=old.reason, figures=means))
