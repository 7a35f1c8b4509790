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
from kddoctor.treatment.journal import Journal
from kddoctor.treatment.plan import Plan, make_plan
from kddoctor.treatment.prescription import PRESCRIPTION, Prescription, prescribe, present_value
from kddoctor.treatment.result import Cost, OtherSeed, Treatment, result_of, write_result
from kddoctor.treatment.scripts.overriding import Overridden, carried_out, overridden
from kddoctor.treatment.scripts.script import SEED, Script, script_of
from kddoctor.treatment.scripts.training import ScriptTraining


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
    script = script_of(run)
    given = prescription or prescribe(run.manifest, diagnosis or diagnose(run), only)
    plan = make_plan(run.manifest, carried_out(script, given), epochs)
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
    if trials:
        raise UsageError("--trials needs models and data as functions (code.teacher, code.student, …), not a script")
    before = diagnosis or diagnose(run)
    planned = plan_script(run, diagnosis=before, prescription=prescription, only=only, epochs=epochs)
    settings = _by_seed(planned, seeds)
    from kddoctor.treatment.checkpoint import claimed

    with claimed(output, resume=resume) as work:
        Journal(work).begin(begun(run, output, planned.plan, epochs, before))
        _say(planned.changed.doubts, quiet=quiet)
        log = output.with_name(f"{output.name}.script.log")
        log.unlink(missing_ok=True)
        trained = {
            seed: ScriptTraining(run, planned.script, changed, work / f"script-{number}", log).carry_out(quiet=quiet)
            for number, (seed, changed) in enumerate(settings.items())
        }
        first = next(iter(settings))
        treated = _treatable_again(run, trained[first], settings[first])
        _say(_not_taken_up(planned, treated), quiet=quiet)
        result = _judged(run, planned, before, treated, trained)
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
    run: Run, planned: ScriptPlan, before: Diagnosis, treated: Run, trained: Mapping[int | None, Run]
) -> Treatment:
    # Reads how long a run was, and needs torch to be imported.
    from kddoctor.treatment.schedule import recorded_epochs

    seed, *others = trained
    steps = [_steps(found) for found in trained.values()]
    own = _steps(run)
    return result_of(
        planned.plan,
        before,
        diagnose(treated),
        (run, treated),
        epochs=treated.manifest.training.epochs or recorded_epochs(treated),
        kept_epoch=None,
        seed=treated.manifest.training.seed if seed is None else seed,
        seeds=[OtherSeed(seed=other, after=_metric(trained[other])) for other in others if other is not None],
        cost=Cost(trainings=len(trained), steps=sum(steps), of_one=float(f"{sum(steps) / own:.3g}") if own else None),
        experiments=(),
        command=planned.changed.command,
    )


def _steps(run: Run) -> int:
    """Training steps that its metrics know of."""
    steps = [step for row in run.metrics if isinstance(step := row.get("step"), int | float) and abs(step) < 2**53]
    return int(max(steps)) + 1 if steps else 0


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
