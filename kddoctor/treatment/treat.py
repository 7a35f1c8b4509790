"""Retrain a corrected student from a diagnosed run, and measure how much of the gap closes."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.errors import UsageError
from kddoctor.run.directory import Run, load
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.treatment.beginning import begun, refuse_taken
from kddoctor.treatment.engine_choice import check_engine
from kddoctor.treatment.experiments.experiment import Verdict, trainings_of
from kddoctor.treatment.journal import Journal
from kddoctor.treatment.plan import Plan, make_plan
from kddoctor.treatment.prescription import PRESCRIPTION, Prescription, prescribe, prescribe_or_ask
from kddoctor.treatment.result import RESULT, Cost, OtherSeed, Treatment, result_of, write_result
from kddoctor.treatment.scripts.script import runs_as_script
from kddoctor.treatment.work_directory import CHECKPOINT, checkpoint_directory

if TYPE_CHECKING:
    from kddoctor.treatment.checkpointed import Trained

__all__ = ["RESULT", "Plan", "Treatment", "plan_treatment", "treat"]


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
    trials: int = 0,
    script: bool = False,
    engine: str = "local",
    workers: int = 1,
    resume: bool = False,
    quiet: bool = False,
) -> Treatment:
    """Apply the prescription of all causes that were shown, retrain the student, write a new run and judge it.

    prescription: instead of the diagnosis's. seeds: so many students; the first is recorded, the others are measured.
    trials: so many trainings for experiments first, which may confirm, refute and add to what is prescribed. script:
    run the manifest's ``code.entry`` although it names functions, too; without them it is run anyway. engine: where
    students are trained, in this process or on a Ray cluster (docs/ray.md); workers: processes that retrain the student
    together there. Imports or runs the code that the manifest names. Raises UsageError where nothing can be treated or
    ``output`` is taken, RunError where the run's code or checkpoint is missing or broken. Interrupted, it leaves
    checkpoints beside ``output``, from which ``resume`` goes on.
    """
    output = Path(output)
    check_engine(engine, workers)
    if runs_as_script(run.manifest, asked=script):
        if engine != "local":
            raise UsageError(f"a script of your own is run on this machine; leave out --engine {engine}")
        from kddoctor.treatment.scripts.treating import treat_by_script

        return treat_by_script(
            run,
            output,
            diagnosis=diagnosis,
            prescription=prescription,
            only=only,
            epochs=epochs,
            seeds=seeds,
            trials=trials,
            resume=resume,
            quiet=quiet,
        )
    if resume:
        _clear_unjudged(output)
    refuse_taken(output, run)
    before = diagnosis or diagnose(run)
    given = prescription or prescribe_or_ask(run.manifest, before, only, trials)
    plan = make_plan(run.manifest, given, epochs)
    # torch is loaded only now: a refusal is instant.
    from kddoctor.treatment.checkpoint import claimed
    from kddoctor.treatment.engine import opened
    from kddoctor.treatment.progress import shown_progress
    from kddoctor.treatment.trial import other_seeds

    # The claim outlasts the judging: whoever looks at the work directory sees it until the result is there.
    with claimed(output, resume=resume) as work, opened(engine, run, work, workers) as trainings:
        journal = Journal(work)
        journal.begin(begun(run, output, plan, epochs, before))
        verdicts: tuple[Verdict, ...] = ()
        if trials:
            from kddoctor.treatment.experiments.asking import ask
            from kddoctor.treatment.experiments.running import Laboratory

            decided = prescription is not None or bool(only)
            laboratory = Laboratory(run, trainings.trials, given, epochs, work)
            asked = ask(laboratory, before, trials, decided=decided, quiet=quiet)
            before, verdicts = asked.diagnosis, asked.verdicts
            plan = make_plan(run.manifest, asked.prescription, epochs)
        with shown_progress(f"treating {plan.code}", quiet=quiet) as shown:

            def progress(epoch: int, of: int, accuracy: float) -> None:
                journal.epoch(epoch, of, accuracy)
                shown(epoch, of, accuracy)

            # Other seeds first: the run directory appears when all that it has to say is known.
            others = other_seeds(plan, trainings.trials, seeds, work, progress=shown)
            trained, schedule = trainings.retrain(plan, output, work, progress)
        treated = load(output)
        result = result_of(
            plan,
            before,
            diagnose(treated),
            (run, treated),
            epochs=trained.epochs,
            kept_epoch=trained.kept,
            seed=schedule.seed,
            seeds=[OtherSeed(seed=seed, after=found.score.value) for seed, found in others.items()],
            cost=_cost(run, [trained, *others.values()], verdicts),
            experiments=verdicts,
        )
        (output / PRESCRIPTION).write_text(plan.prescription.to_yaml(), encoding="utf-8")
        write_result(output, result)
    return result


def _cost(run: Run, trained: "Sequence[Trained]", verdicts: Sequence[Verdict]) -> Cost:
    """Trials of experiments count as trainings; steps are those of the treated students."""
    steps, epochs = sum(t.steps for t in trained), run.manifest.training.epochs
    of_one = steps / (epochs * trained[0].steps / trained[0].epochs) if epochs else None
    return Cost(
        trainings=len(trained) + trainings_of(verdicts),
        steps=steps,
        of_one=None if of_one is None else float(f"{of_one:.3g}"),
    )


def _clear_unjudged(output: Path) -> None:
    """A treatment that was killed after its run was written and before it was judged left its checkpoint, too."""
    ours = (checkpoint_directory(output) / CHECKPOINT).is_file() and (output / MANIFEST_FILE).is_file()
    if ours and not (output / RESULT).exists():
        shutil.rmtree(output)
