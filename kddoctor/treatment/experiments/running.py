"""Carrying experiments out: one Optuna study each, kept in SQLite, from which an interrupted treatment goes on."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from kddoctor.run.directory import Run
from kddoctor.treatment.checkpointed import Trained
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.experiments.comparing import verdict_of
from kddoctor.treatment.experiments.experiment import SEEDS, Arm, ArmResult, Experiment, Verdict
from kddoctor.treatment.experiments.giving_up import ARM, ROWS, SEED, ClearlyBehind
from kddoctor.treatment.plan import Plan, make_plan
from kddoctor.treatment.prescription import Change, Prescription
from kddoctor.treatment.schedule import DEFAULT_EPOCHS, Schedule
from kddoctor.treatment.scoring import Score
from kddoctor.treatment.trial import run_trial

STORAGE = "experiments.db"
#: Share of the control's epochs before which no arm is given up; and arms from which on any is: of few, each one's
#: figure is wanted, however bad it is.
WARM_UP, MANY = 1 / 3, 4

#: Experiment and arm of a trial that is over, and its metric, None where it was given up.
AfterTrial = Callable[[str, str, float | None], object]


@dataclass(frozen=True)
class Laboratory:
    """What every trial needs. prescription: of the treatment that arms are changes of, maybe without changes."""

    run: Run
    code: LoadedCode
    prescription: Prescription
    epochs: int | None
    work: Path

    def plan(self, arm: Arm) -> Plan:
        """The treatment with an arm's changes."""
        kept = (c for c in self.prescription.changes if arm.leaves_out is None or c.finding != arm.leaves_out)
        rest = tuple(c for c in kept if c.key not in arm.changes)
        own = tuple(Change(key=key, after=value, finding="", what=arm.name) for key, value in arm.changes.items())
        prescription = self.prescription.model_copy(update={"changes": (*rest, *own)})
        # An experiment about the number of epochs has its own.
        return make_plan(self.run.manifest, prescription, None if "training.epochs" in arm.changes else self.epochs)

    def train(self, arm: Arm, seed: int, after_epoch: Callable[[int, Score], object]) -> Trained:
        """One arm from one seed; from its file where it was made before. seed: counted from the run's own."""
        plan = self.plan(arm)
        first = plan.manifest.training.seed or 0

        def budgeted(schedule: Schedule) -> Schedule:
            return replace(schedule, seed=first + seed, epochs=max(1, round(schedule.epochs * arm.epochs)))

        folder = self.work / "trials" / _name(arm, plan, seed)
        return run_trial(self.run, plan, arm.prepared(self.code), folder, budgeted, after_epoch)


def carry_out(
    laboratory: Laboratory, experiments: Sequence[Experiment], trials: int, after_trial: AfterTrial
) -> tuple[Verdict, ...]:
    """As many experiments, in order, as fit into ``trials`` trainings; the rest is said to be open.

    Every arm and its control start from the same ``SEEDS`` seeds, and are compared in the metric of the run.
    """
    left, verdicts = trials, []
    for experiment in experiments:
        arms = list(experiment.arms(laboratory.run))
        if not arms:
            verdicts.append(_not_asked(experiment, f"Not asked: it needs {experiment.needs}."))
            continue
        needed = SEEDS * (1 + len(arms))
        if needed > left:
            verdicts.append(_not_asked(experiment, f"Not asked: it needs {needed} trials, and {left} were left."))
            continue
        left -= needed
        verdicts.append(_ask(laboratory, experiment, arms, after_trial))
    return tuple(verdicts)


def _ask(laboratory: Laboratory, experiment: Experiment, arms: Sequence[Arm], after_trial: AfterTrial) -> Verdict:
    known = {arm.name: arm for arm in (experiment.control, *arms)}
    study = _study(laboratory, experiment, len(arms))
    # Seed by seed, so that an early end still leaves whole pairs.
    wanted = [(name, seed) for seed in range(SEEDS) for name in known]
    while pending := [pair for pair in wanted if pair not in _results(study)]:
        study.enqueue_trial(dict(zip((ARM, SEED), pending[0], strict=True)))
        trial = study.ask(_space(list(known)))
        arm = known[trial.params[ARM]]
        value = _carry_out(laboratory, study, trial, arm)
        after_trial(experiment.name, arm.name, value)
    found = _results(study)
    results = {
        name: ArmResult(
            name=name,
            changes=dict(arm.changes),
            values={seed: value for (n, seed), value in found.items() if n == name and value is not None},
            stopped=tuple(seed for (n, seed), value in sorted(found.items()) if n == name and value is None),
        )
        for name, arm in known.items()
    }
    control = results.pop(experiment.control.name)
    return verdict_of(laboratory.run, experiment, control, list(results.values()))


def _carry_out(laboratory: Laboratory, study: optuna.Study, trial: optuna.Trial, arm: Arm) -> float | None:
    """The metric of one trial; None where it was given up."""

    def after_epoch(epoch: int, score: Score) -> bool:
        trial.set_user_attr(ROWS, score.rows)
        trial.report(score.value, epoch)
        return trial.should_prune()

    trained = laboratory.train(arm, trial.params[SEED], after_epoch)
    if trained.stopped:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return None
    study.tell(trial, trained.score.value)
    return trained.score.value


def _study(laboratory: Laboratory, experiment: Experiment, arms: int) -> optuna.Study:
    laboratory.work.mkdir(parents=True, exist_ok=True)
    epochs = laboratory.plan(experiment.control).manifest.training.epochs or DEFAULT_EPOCHS
    warm_up = round(WARM_UP * epochs * experiment.control.epochs)
    pruner = ClearlyBehind(experiment.control.name, warm_up) if arms >= MANY else None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=experiment.name,
        storage=f"sqlite:///{laboratory.work / STORAGE}",
        direction="maximize",
        pruner=pruner or optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        # Of a process that was killed; its epochs are in the trial's own checkpoint.
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _space(arms: list[str]) -> dict[str, optuna.distributions.BaseDistribution]:
    return {
        ARM: optuna.distributions.CategoricalDistribution(arms),
        SEED: optuna.distributions.IntDistribution(0, SEEDS - 1),
    }


def _results(study: optuna.Study) -> dict[tuple[str, int], float | None]:
    """By arm and seed: the metric of trials that are over, None of those that were given up."""
    over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return {
        (trial.params[ARM], trial.params[SEED]): trial.value if trial.state is over[0] else None
        for trial in study.get_trials(states=over)
    }


def _not_asked(experiment: Experiment, why: str) -> Verdict:
    return Verdict(experiment=experiment.name, question=experiment.question, outcome="not asked", answer=why)


def _name(arm: Arm, plan: Plan, seed: int) -> str:
    """Of a trial's folder: the same for the same training, whichever experiment asks for it."""
    what = json.dumps([plan.signature, arm.epochs, f"{arm.prepared.__module__}.{arm.prepared.__qualname__}"])
    return f"{hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}-{seed}"
