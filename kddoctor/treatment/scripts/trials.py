"""Trials by a run's own script: run once more for each arm and seed, its record measured and thrown away."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from kddoctor.errors import UsageError, one_line
from kddoctor.files import write_whole
from kddoctor.run.directory import Run
from kddoctor.treatment.checkpointed import Trained
from kddoctor.treatment.plan import make_plan
from kddoctor.treatment.recorded_score import recorded_score
from kddoctor.treatment.scoring import Score
from kddoctor.treatment.scripts.overriding import Overridden, overridden
from kddoctor.treatment.scripts.script import Script
from kddoctor.treatment.scripts.training import ScriptTraining, steps_of
from kddoctor.treatment.trial import AfterEpoch, Trial, Trials, silent
from kddoctor.treatment.work_directory import TRIAL

#: Of an arm that the script could not train.
FAILED = Trained(epochs=0, steps=0, kept=0, score=Score("accuracy", 0.0, 0.0, 0.0, 0), values=(), stopped=True)


def by_script(run: Run, script: Script, log: Path, *, quiet: bool) -> Trials:
    """In turn, each in a directory of its own. log: where a failure is written to."""

    def carry_out(
        trials: Sequence[Trial], finished: Callable[[int, Trained], object], after_epoch: AfterEpoch = silent
    ) -> None:
        del after_epoch  # a script says nothing until it is over
        for number, trial in enumerate(trials):
            finished(number, _run(run, script, trial, log, quiet=quiet))

    return carry_out


def _run(run: Run, script: Script, trial: Trial, log: Path, *, quiet: bool) -> Trained:
    changed = trial_settings(script, trial)
    result, signature = trial.folder / TRIAL, json.dumps([changed.words, changed.settings])
    if result.is_file():
        kept = json.loads(result.read_text("utf-8"))
        if kept["signature"] == signature:
            return Trained.from_json(kept["trained"])
    try:
        recorded = ScriptTraining(run, script, changed, trial.folder, log).carry_out(quiet=quiet)
    except UsageError as error:
        if not trial.may_fail:
            raise
        if not quiet:
            sys.stderr.write(f"warning: an arm of an experiment is given up: {one_line(str(error))}\n")
        trained = FAILED
    else:
        trained = _trained(recorded)
    trial.folder.mkdir(parents=True, exist_ok=True)
    write_whole(result, json.dumps({"signature": signature, "trained": asdict(trained)}))
    for entry in trial.folder.iterdir():  # code, record and all that the script wrote
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
    return trained


def trial_settings(script: Script, trial: Trial) -> Overridden:
    """The command line and settings of a trial, with its seed and its share of the epochs."""
    plan = trial.plan
    epochs = plan.manifest.training.epochs
    if trial.budget != 1 and epochs is not None:
        plan = make_plan(plan.before, plan.prescription, max(1, round(epochs * trial.budget)))
    return overridden(script, plan, trial.seed)


def _trained(recorded: Run) -> Trained:
    score, epochs = recorded_score(recorded), recorded.manifest.training.epochs or 1
    return Trained(epochs, steps_of(recorded), epochs, score, (score.value,))
