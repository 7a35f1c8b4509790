"""A treatment carried out by the run's own script: settings overridden, trained again, diagnosed and compared."""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.errors import UsageError, one_line
from kddoctor.run.directory import Run, load
from kddoctor.run.manifest import MANIFEST_FILE, manifest_to_yaml
from kddoctor.run.paths import reason
from kddoctor.treatment.beginning import begun, refuse_taken
from kddoctor.treatment.experiments.experiment import Verdict, trainings_of
from kddoctor.treatment.journal import Journal
from kddoctor.treatment.plan import Plan, make_plan
from kddoctor.treatment.prescription import PRESCRIPTION, Prescription, prescribe, prescribe_or_ask, present_value
from kddoctor.treatment.result import Cost, OtherSeed, Treatment, result_of, write_result
from kddoctor.treatment.scripts.overriding import Overridden, carried_out, overridden
from kddoctor.treatment.scripts.script import SEED, Script, script_of
from kddoctor.treatment.scripts.training import ScriptTraining, steps_of


@dataclass(frozen=True)
class ScriptPlan:
    """What a treatment by script would do. changed: its command line and settings."""

    script: Script
    plan: Plan
    changed: Overridden


def plan_script(
    run: Run,
    *,
    diagnosis: Diagnosis | None = None,
    prescription: Prescription | None = None,
    only: Sequence[str] = (),
    epochs: int | None = None,
) -> ScriptPlan:
    """Nothing is run. Raises UsageError where none of the changes has a place in the script, RunError without it."""
    given = prescription or prescribe(run.manifest, diagnosis or diagnose(run), only)
    return _planned(run, script_of(run), given, epochs)


def _planned(
    run: Run, script: Script, prescription: Prescription, epochs: int | None, *, may_be_none: bool = False
) -> ScriptPlan:
    plan = make_plan(run.manifest, carried_out(script, prescription, may_be_none=may_be_none), epochs)
    return ScriptPlan(script, plan, overridden(script, plan))


def treat_by_script(
    run: Run,
    output: Path,
    *,
    diagnosis: Diagnosis | None = None,
    prescription: Prescription | None = None,
    only: Sequence[str] = (),
    epochs: int | None = None,
    seeds: int = 1,
    trials: int = 0,
    resume: bool = False,
    quiet: bool = False,
) -> Treatment:
    """As ``kddoctor.treatment.treat.treat``, by running the script that ``code.entry`` names.

    It runs in a copy of the run's code beside ``output``, which appears when everything is known. Raises UsageError
    also where the script fails, which leaves its last output in ``OUTPUT.script.log``.
    """
    refuse_taken(output, run)
    script = script_of(run)
    before = diagnosis or diagnose(run)
    given = prescription or prescribe_or_ask(run.manifest, before, only, trials)
    planned = _planned(run, script, given, epochs, may_be_none=trials > 0)
    settings = _by_seed(planned, seeds)
    from kddoctor.treatment.checkpoint import claimed

    with claimed(output, resume=resume) as work:
        Journal(work).begin(begun(run, output, planned.plan, epochs, before))
        _say(planned.changed.doubts, quiet=quiet)
        log = output.with_name(f"{output.name}.script.log")
        log.unlink(missing_ok=True)
        verdicts: tuple[Verdict, ...] = ()
        if trials:
            from kddoctor.treatment.experiments.asking import ask
            from kddoctor.treatment.experiments.running import Laboratory
            from kddoctor.treatment.scripts.asking import as_asked
            from kddoctor.treatment.scripts.trials import by_script

            laboratory = Laboratory(
                run,
                by_script(run, script, log, quiet=quiet),
                planned.plan.prescription,
                epochs,
                work,
                as_asked=as_asked(run, script),
                to_their_end=True,
            )
            decided = prescription is not None or bool(only)
            asked = ask(laboratory, before, trials, decided=decided, quiet=quiet)
            before, verdicts = asked.diagnosis, asked.verdicts
            planned = _planned(run, script, asked.prescription, epochs)
            settings = _by_seed(planned, seeds)
        trained = {
            seed: ScriptTraining(run, planned.script, changed, work / f"script-{number}", log).carry_out(quiet=quiet)
            for number, (seed, changed) in enumerate(settings.items())
        }
        first = next(iter(settings))
        treated = _treatable_again(run, trained[first], settings[first])
        _say(_not_taken_up(planned, treated), quiet=quiet)
        result = _judged(run, planned, before, treated, trained, verdicts)
        (treated.path / PRESCRIPTION).write_text(planned.plan.prescription.to_yaml(), encoding="utf-8")
        write_result(treated.path, result)
        _appear(treated.path, output)
    return result


def _by_seed(planned: ScriptPlan, seeds: int) -> Mapping[int | None, Overridden]:
    """The settings of every training, the recorded one first, whose seed is the script's own where there is one."""
    if seeds == 1:
        return {planned.plan.manifest.training.seed: planned.changed}
    if SEED not in planned.script.keys:
        raise UsageError(f"{MANIFEST_FILE}: --seeds needs {SEED} in code.keys, where the script takes its seed from")
    first = planned.plan.manifest.training.seed or 0
    return {seed: overridden(planned.script, planned.plan, seed) for seed in range(first, first + seeds)}


def _judged(
    run: Run,
    planned: ScriptPlan,
    before: Diagnosis,
    treated: Run,
    trained: Mapping[int | None, Run],
    verdicts: Sequence[Verdict],
) -> Treatment:
    # Reads how long a run was, and needs torch to be imported.
    from kddoctor.treatment.schedule import recorded_epochs

    seed, *others = trained
    steps = [steps_of(found) for found in trained.values()]
    own = steps_of(run)
    return result_of(
        planned.plan,
        before,
        diagnose(treated),
        (run, treated),
        epochs=treated.manifest.training.epochs or recorded_epochs(treated),
        kept_epoch=None,
        seed=treated.manifest.training.seed if seed is None else seed,
        seeds=[OtherSeed(seed=other, after=_metric(trained[other])) for other in others if other is not None],
        cost=Cost(
            trainings=len(trained) + trainings_of(verdicts),
            steps=sum(steps),
            of_one=float(f"{sum(steps) / own:.3g}") if own else None,
        ),
        experiments=verdicts,
        command=planned.changed.command,
    )


def _metric(run: Run) -> float:
    return diagnose(run).gap.student or 0.0


def _treatable_again(run: Run, treated: Run, changed: Overridden) -> Run:
    """The treated run with the arguments that it had in its code section; that of the old run, where it has none."""
    own = treated.manifest.code
    code = run.manifest.code if own is None or own.entry is None else own
    assert code is not None
    code = code.model_copy(update={"entry": shlex.join(changed.words)})
    if code == own:
        return treated
    manifest = treated.manifest.model_copy(update={"code": code})
    (treated.path / MANIFEST_FILE).write_text(manifest_to_yaml(manifest), encoding="utf-8")
    return load(treated.path)


def _not_taken_up(planned: ScriptPlan, treated: Run) -> tuple[str, ...]:
    """A line for every setting that the treated run records otherwise than it was set."""
    lines = []
    for key in planned.plan.changes:
        found, after = (present_value(manifest, key) for manifest in (treated.manifest, planned.plan.manifest))
        if found is not None and found != after:
            said = f"{key} was set to {after}, but the treated run records {found}"
            lines.append(f"{said}; does {planned.script.words[0]} hand its settings to kddoctor.record?")
    return tuple(lines)


def _say(lines: Sequence[str], *, quiet: bool) -> None:
    for line in lines if not quiet else ():
        sys.stderr.write(f"warning: {one_line(line)}\n")


def _appear(finished: Path, output: Path) -> None:
    """All of it at once."""
    try:
        if output.exists():  # empty, as refuse_taken saw
            output.rmdir()
        shutil.move(finished, output)
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {reason(error)}; the treated run is in {finished}") from None
