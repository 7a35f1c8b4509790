"""What every treatment does first: see that its output is free, and say that it began."""

from pathlib import Path

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.errors import UsageError
from kddoctor.run.directory import Run
from kddoctor.run.paths import reason
from kddoctor.treatment.journal import Begun
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.process import Process


def refuse_taken(output: Path, run: Run) -> None:
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


def begun(run: Run, output: Path, plan: Plan, epochs: int | None, before: Diagnosis) -> Begun:
    """The first entry of its journal. epochs: as asked for."""
    return Begun(
        run=str(run.path.resolve()),
        output=str(output.resolve()),
        code=plan.code,
        codes=plan.prescription.codes,
        epochs=epochs,
        metric=before.gap.metric,
        before=before.gap.student,
        teacher=before.gap.teacher,
        process=Process.current(),
    )
