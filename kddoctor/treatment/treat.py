"""Retrain a corrected student from a diagnosed run, and measure how much of the gap closes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.errors import UsageError
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.run.directory import Run, load
from kddoctor.run.paths import reason
from kddoctor.treatment.journal import Begun, Journal
from kddoctor.treatment.prescription import Plan, make_plan
from kddoctor.treatment.process import Process

__all__ = ["Plan", "Treatment", "plan_treatment", "treat"]

RESULT = "treatment.json"


class Treatment(BaseModel):
    """What a treatment did; ``treatment.json`` in the treated run directory.

    before, after, teacher: the metric on the same held-out rows; labels_only: of the student without a teacher, where
    the sick run recorded it. standard_error: of before and after alike.
    share_closed: (after − before) / (teacher − before), None where that gap is within the noise. helped: after
    exceeds before by more than two standard errors of the difference.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    code: str
    name: str
    summary: str
    changes: dict[str, object]
    metric: str
    before: float
    after: float
    teacher: float
    labels_only: float | None
    standard_error: float
    share_closed: float | None
    helped: bool
    epochs: int
    seed: int
    verdict_after: str
    causes_after: tuple[str, ...]


def plan_treatment(run: Run, *, only: Sequence[str] = (), epochs: int | None = None) -> Plan:
    """What ``treat`` would do. Raises UsageError where nothing can be treated."""
    return make_plan(run.manifest, diagnose(run), only, epochs)


def treat(
    run: Run,
    output: Path | str,
    *,
    diagnosis: Diagnosis | None = None,
    only: Sequence[str] = (),
    epochs: int | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Treatment:
    """Apply the prescription of the first cause, retrain the student, write a new run directory and judge it.

    Imports the code that the manifest names. Raises UsageError where nothing can be treated or ``output`` is taken,
    RunError where the run's code or checkpoint is missing or broken. Interrupted, it leaves a checkpoint beside
    ``output``, from which ``resume`` goes on.
    """
    output = Path(output)
    _refuse_taken(output, run)
    before = diagnosis or diagnose(run)
    plan = make_plan(run.manifest, before, only, epochs)
    # torch is loaded only now: a refusal is instant.
    from kddoctor.treatment.checkpoint import claimed
    from kddoctor.treatment.code_loading import loaded_code
    from kddoctor.treatment.progress import shown_progress
    from kddoctor.treatment.retrain import retrain

    # The claim outlasts the judging: whoever looks at the work directory sees it until the result is there.
    with claimed(output, resume=resume) as work:
        journal = Journal(work)
        journal.begin(_begun(run, output, plan, epochs, before))
        with loaded_code(run) as code, shown_progress(plan.code, journal, quiet=quiet) as progress:
            schedule = retrain(run, plan, code, output, work, progress=progress)
        result = _result(plan, before, diagnose(load(output)), schedule.epochs, schedule.seed)
        _write_result(output, result)
    return result


def _begun(run: Run, output: Path, plan: Plan, epochs: int | None, before: Diagnosis) -> Begun:
    return Begun(
        run=str(run.path.resolve()),
        output=str(output.resolve()),
        code=plan.code,
        epochs=epochs,
        metric=before.gap.metric,
        before=before.gap.student,
        teacher=before.gap.teacher,
        process=Process.current(),
    )


def _write_result(output: Path, result: Treatment) -> None:
    partial = output / f".{RESULT}.partial"
    partial.write_text(json.dumps(result.model_dump(mode="json"), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(output / RESULT)


def _refuse_taken(output: Path, run: Run) -> None:
    """Raises UsageError where the treated run could not be written, before anything is trained."""
    try:
        taken = output.is_symlink() or (output.exists() and (not output.is_dir() or any(output.iterdir())))
        inside = output.resolve().is_relative_to(run.path.resolve())
    except (OSError, ValueError) as error:
        raise UsageError(f"{output}: cannot be used: {reason(error)}") from None
    if inside:
        raise UsageError(f"{output}: lies in the run that is treated; choose an --output beside it")
    if taken:
        raise UsageError(f"{output}: already exists; choose another --output")


def _result(plan: Plan, before: Diagnosis, after: Diagnosis, epochs: int, seed: int) -> Treatment:
    # A teacher that the treatment repaired is measured after it: that is the teacher which the student could match.
    # A student that became NaN leaves no row to measure on: then it is the teacher as it was.
    teacher = after.gap.teacher or before.gap.teacher or 0.0
    old, new = before.gap.student or 0.0, after.gap.student or 0.0
    rows = max(1, after.gap.rows)
    error = standard_error(new, rows)
    gap = teacher - old
    return Treatment(
        code=plan.code,
        name=plan.name,
        summary=plan.summary,
        changes=dict(plan.changes),
        metric=after.gap.metric,
        before=old,
        after=new,
        teacher=teacher,
        labels_only=before.gap.baseline,
        standard_error=float(f"{error:.6g}"),
        share_closed=float(f"{(new - old) / gap:.6g}") if gap > noise_of_difference(error) else None,
        helped=new - old > noise_of_difference(error),
        epochs=epochs,
        seed=seed,
        verdict_after=after.verdict,
        causes_after=tuple(after.cause_codes),
    )
