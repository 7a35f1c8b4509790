"""Retrain a corrected student from a diagnosed run, and measure how much of the gap closes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.errors import UsageError
from kddoctor.run.directory import Run, load
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.run.paths import reason
from kddoctor.treatment.journal import Begun, Journal
from kddoctor.treatment.plan import Plan, make_plan
from kddoctor.treatment.prescription import Prescription, prescribe
from kddoctor.treatment.process import Process
from kddoctor.treatment.result import RESULT, Cost, OtherSeed, Treatment, result_of, write_result
from kddoctor.treatment.work_directory import CHECKPOINT, checkpoint_directory

__all__ = ["RESULT", "Plan", "Treatment", "plan_treatment", "treat"]

PRESCRIPTION = "prescription.yaml"


def plan_treatment(
    run: Run,
    *,
    diagnosis: Diagnosis | None = None,
    prescription: Prescription | None = None,
    only: Sequence[str] = (),
    epochs: int | None = None,
) -> Plan:
    """What ``treat`` would do. Raises UsageError where nothing can be treated."""
    given = prescription or prescribe(run.manifest, diagnosis or diagnose(run), only)
    return make_plan(run.manifest, given, epochs)


def treat(
    run: Run,
    output: Path | str,
    *,
    diagnosis: Diagnosis | None = None,
    prescription: Prescription | None = None,
    only: Sequence[str] = (),
    epochs: int | None = None,
    seeds: int = 1,
    resume: bool = False,
    quiet: bool = False,
) -> Treatment:
    """Apply the prescription of all causes that were shown, retrain the student, write a new run and judge it.

    prescription: instead of the diagnosis's. seeds: so many students; the first is recorded, the others are measured.
    Imports the code that the manifest names. Raises UsageError where nothing can be treated or ``output`` is taken,
    RunError where the run's code or checkpoint is missing or broken. Interrupted, it leaves checkpoints beside
    ``output``, from which ``resume`` goes on.
    """
    output = Path(output)
    if resume:
        _clear_unjudged(output)
    _refuse_taken(output, run)
    before = diagnosis or diagnose(run)
    plan = plan_treatment(run, diagnosis=before, prescription=prescription, only=only, epochs=epochs)
    # torch is loaded only now: a refusal is instant.
    from kddoctor.treatment.checkpoint import claimed
    from kddoctor.treatment.code_loading import loaded_code
    from kddoctor.treatment.progress import shown_progress
    from kddoctor.treatment.retrain import retrain
    from kddoctor.treatment.trial import other_seeds

    # The claim outlasts the judging: whoever looks at the work directory sees it until the result is there.
    with claimed(output, resume=resume) as work:
        journal = Journal(work)
        journal.begin(_begun(run, output, plan, epochs, before))
        with loaded_code(run) as code, shown_progress(f"treating {plan.code}", quiet=quiet) as shown:

            def progress(epoch: int, of: int, accuracy: float) -> None:
                journal.epoch(epoch, of, accuracy)
                shown(epoch, of, accuracy)

            # Other seeds first: the run directory appears when all that it has to say is known.
            others = other_seeds(run, plan, code, seeds, work, progress=shown)
            trained, schedule = retrain(run, plan, code, output, work, progress=progress)
        result = result_of(
            plan,
            before,
            diagnose(load(output)),
            (run, load(output)),
            epochs=trained.epochs,
            kept_epoch=trained.kept,
            seed=schedule.seed,
            seeds=[OtherSeed(seed=seed, after=found.score.value) for seed, found in others.items()],
            cost=_cost(
                run, [trained.steps, *(found.steps for found in others.values())], trained.steps / trained.epochs
            ),
        )
        (output / PRESCRIPTION).write_text(plan.prescription.to_yaml(), encoding="utf-8")
        write_result(output, result)
    return result


def _cost(run: Run, steps: Sequence[int], steps_of_an_epoch: float) -> Cost:
    epochs = run.manifest.training.epochs
    of_one = sum(steps) / (epochs * steps_of_an_epoch) if epochs else None
    return Cost(trainings=len(steps), steps=sum(steps), of_one=None if of_one is None else float(f"{of_one:.3g}"))


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


def _clear_unjudged(output: Path) -> None:
    """A treatment that was killed after its run was written and before it was judged left its checkpoint, too."""
    ours = (checkpoint_directory(output) / CHECKPOINT).is_file() and (output / MANIFEST_FILE).is_file()
    if ours and not (output / RESULT).exists():
        shutil.rmtree(output)


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
