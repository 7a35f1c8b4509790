"""Carrying experiments out: one Optuna study each, kept in SQLite, from which an interrupted treatment goes on."""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import optuna

from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.run.directory import Run
from kddoctor.treatment.checkpointed import GivingUp, Trained, never
from kddoctor.treatment.experiments.comparing import verdict_of
from kddoctor.treatment.experiments.experiment import Arm, ArmResult, Experiment, Verdict, trainings_of
from kddoctor.treatment.experiments.giving_up import ClearlyBehind
from kddoctor.treatment.plan import Plan, make_plan
from kddoctor.treatment.prescription import Change, Prescription
from kddoctor.treatment.recorded_score import recorded_score
from kddoctor.treatment.schedule import DEFAULT_EPOCHS
from kddoctor.treatment.trial import Trial, Trials

STORAGE, ARM, SEED, ROWS = "experiments.db", "arm", "seed", "rows"
COMPLETE, PRUNED = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
#: Share of the control's epochs before which no arm is given up; and arms from which on any is: of few, each one's
#: figure is wanted, however bad it is.
WARM_UP, MANY = 1 / 3, 4

#: Experiment and arm of a trial that is over, and its metric, None where it was given up.
AfterTrial = Callable[[str, str, float | None], object]


def as_it_stands(experiment: Experiment) -> Experiment:
    """For a loop that every experiment can be put to."""
    return experiment


@dataclass(frozen=True)
class Laboratory:
    """What every trial needs. prescription: of the treatment that arms are changes of, maybe without changes.

    trials: how students are trained. as_asked: an experiment as it can be put to this loop, or what that would need.
    to_their_end: trials cannot be watched and given up in the middle.
    """

    run: Run
    trials: Trials
    prescription: Prescription
    epochs: int | None
    work: Path
    as_asked: Callable[[Experiment], Experiment | str] = as_it_stands
    to_their_end: bool = False

    def plan(self, arm: Arm) -> Plan:
        """The treatment with an arm's changes."""
        prescribed = () if arm.alone else self.prescription.changes
        kept = (c for c in prescribed if arm.leaves_out is None or c.finding != arm.leaves_out)
        rest = tuple(c for c in kept if c.key not in arm.changes)
        own = tuple(Change(key=key, after=value, finding="", what=arm.name) for key, value in arm.changes.items())
        prescription = self.prescription.model_copy(update={"changes": (*rest, *own)})
        # An experiment about the number of epochs has its own.
        return make_plan(self.run.manifest, prescription, None if "training.epochs" in arm.changes else self.epochs)

    def trial(self, arm: Arm, seed: int, give_up: GivingUp, *, may_fail: bool) -> Trial:
        """One arm from one seed, counted from the run's own. may_fail: it is worth no more than being given up."""
        plan = self.plan(arm)
        first = plan.manifest.training.seed or 0
        folder = self.work / "trials" / _name(arm, plan, seed)
        return Trial(plan, folder, first + seed, arm.epochs, arm.prepared, give_up, may_fail)


def carry_out(
    laboratory: Laboratory, experiments: Sequence[Experiment], trials: int, after_trial: AfterTrial
) -> tuple[Verdict, ...]:
    """As many experiments, in order, as fit into ``trials`` trainings; the rest is said to be open.

    What two of them train, such as the same control, is trained and counted once.
    Every arm and its control start from the same seeds, and are compared in the metric of the run.
    """
    verdicts: list[Verdict] = []
    trained: set[tuple[str, int]] = set()
    for wanted in experiments:
        experiment = laboratory.as_asked(wanted)
        if isinstance(experiment, str):
            verdicts.append(_not_asked(wanted, f"Not asked: it needs {experiment}."))
            continue
        arms = list(experiment.arms(laboratory.run))
        if not arms:
            verdicts.append(_not_asked(experiment, f"Not asked: it needs {experiment.needs}."))
            continue
        left = trials - trainings_of(verdicts)
        while experiment.chooses(len(arms)) and _needed(experiment, arms, trained) > left:
            arms.pop()
        needed = _needed(experiment, arms, trained)
        if needed > left:
            why = f"Not asked: it needs {needed} trials, and {left} were left."
            verdicts.append(_not_asked(experiment, why, too_few=True))
            continue
        trained |= _wanted(experiment, arms)
        joined = min(experiment.joined, left - needed)
        verdicts.append(_ask(laboratory, experiment, arms, joined, after_trial))
    return tuple(verdicts)


def _needed(experiment: Experiment, arms: Sequence[Arm], trained: Set[tuple[str, int]]) -> int:
    """How many students an experiment trains that are not trained yet."""
    later = experiment.seeds if experiment.chooses(len(arms)) else 0  # of the arm that is ahead, whichever it is
    return len(_wanted(experiment, arms) - trained) + later


def _wanted(experiment: Experiment, arms: Sequence[Arm]) -> set[tuple[str, int]]:
    """The students of an experiment, of a race those that are certain."""
    seeds = range(experiment.seeds_of(len(arms)))
    control = [] if experiment.control.recorded else [(_key(experiment.control), seed) for seed in seeds]
    of_each = range(1) if experiment.chooses(len(arms)) else seeds
    return {*control, *((_key(arm), seed) for arm in arms for seed in of_each)}


def _ask(
    laboratory: Laboratory, experiment: Experiment, arms: Sequence[Arm], joined: int, after_trial: AfterTrial
) -> Verdict:
    names = _names(laboratory.run, experiment, arms)
    study = _study(laboratory, experiment, names)
    asked = _Asked(laboratory, experiment, study, names, (experiment.control, *arms), after_trial)
    if experiment.control.recorded:
        asked.keep_recorded()
    controls = [(experiment.control, seed, never) for seed in range(experiment.seeds)]
    if experiment.chooses(len(arms)):
        asked = asked.with_joined_arms(joined)
        asked.race()
    elif len(arms) < MANY:
        asked.train([*controls, *((arm, seed, never) for seed in range(experiment.seeds) for arm in arms)])
    elif laboratory.to_their_end:
        # One seed of each arm tells which of them are worth two more.
        asked.train([*controls, *((arm, 0, never) for arm in arms)])
        asked.skip(arm for arm in arms if asked.fell_behind(arm))
        asked.train([(arm, seed, never) for seed in range(1, experiment.seeds) for arm in arms])
    else:
        # The controls tell when an arm is to be given up.
        asked.train(controls)
        rules = [asked.far_behind(seed) for seed in range(experiment.seeds)]
        asked.train([(arm, seed, rule) for seed, rule in enumerate(rules) for arm in arms])
    control, *others = (asked.result(arm) for arm in asked.arms)
    return verdict_of(laboratory.run, experiment, control, others)


@dataclass(frozen=True)
class _Asked:
    """An experiment in progress. study: keeps the trials that are over. names: of all arms that there could be."""

    laboratory: Laboratory
    experiment: Experiment
    study: optuna.Study
    names: tuple[str, ...]
    arms: tuple[Arm, ...]
    after_trial: AfterTrial

    @property
    def seeds(self) -> range:
        """Of each arm that goes on to the end."""
        return range(self.experiment.seeds_of(len(self.arms) - 1))

    def with_joined_arms(self, most: int) -> Self:
        """With up to ``most`` arms more: the one that is ahead from the first seed, with what the next best change."""
        self.train([(arm, 0, never) for arm in self.arms])
        ahead, *others = self._in_order()
        if ahead is self.experiment.control:
            return self
        joined = (ahead.with_changes_of(other) for other in others if other is not self.experiment.control)
        return replace(self, arms=(*self.arms, *itertools.islice(filter(None, joined), most)))

    def race(self) -> None:
        """Every arm from the first seed; then the one that is ahead, and its control, from the others."""
        control = self.experiment.control
        self.train([(arm, 0, never) for arm in self.arms])
        ahead = self._in_order()[0]
        self.skip(arm for arm in self.arms if ahead is control or arm not in (ahead, control))
        if ahead is not control:
            self.train([(arm, seed, never) for seed in self.seeds for arm in (control, ahead)])

    def _in_order(self) -> list[Arm]:
        """By the first seed, the best first; of equal ones the control."""
        over = self.over()
        # One that failed is behind all.
        found = {arm.name: over[arm.name, 0].value for arm in self.arms}
        return sorted(self.arms, key=lambda arm: math.inf if (value := found[arm.name]) is None else -value)

    def train(self, wanted: Sequence[tuple[Arm, int, GivingUp]]) -> None:
        """Those of (arm, seed, rule for giving it up) that are not over yet."""
        over = self.over()
        pending = [(arm, seed, rule) for arm, seed, rule in wanted if (arm.name, seed) not in over]

        def finished(number: int, trained: Trained) -> None:
            arm, seed, _ = pending[number]
            self._keep(arm, seed, trained)
            self.after_trial(self.experiment.name, arm.name, None if trained.stopped else trained.score.value)

        control = self.experiment.control
        trials = [self.laboratory.trial(*each, may_fail=each[0] is not control) for each in pending]
        self.laboratory.trials(trials, finished)

    def keep_recorded(self) -> None:
        """What the run itself reached stands for its training from every seed."""
        control, over = self.experiment.control, self.over()
        score = recorded_score(self.laboratory.run)
        for seed in self.seeds:
            if (control.name, seed) not in over:
                self._add(control, seed, COMPLETE, score.value, {}, ())

    def skip(self, arms: Iterable[Arm]) -> None:
        """These arms are given up at every seed that they were not trained from."""
        over = self.over()
        for arm in arms:
            left = [seed for seed in self.seeds if (arm.name, seed) not in over]
            for seed in left:
                self._keep(arm, seed, None)
            if left:
                self.after_trial(self.experiment.name, arm.name, None)

    def fell_behind(self, arm: Arm) -> bool:
        """Whether its first seed failed, or ended clearly below the control's."""
        over = self.over()
        control, found = over[self.experiment.control.name, 0], over[arm.name, 0]
        if found.value is None or control.value is None:
            return found.value is None
        error = standard_error(control.value, control.user_attrs[ROWS])
        return bool(found.value < control.value - noise_of_difference(error))

    def over(self) -> dict[tuple[str, int], optuna.trial.FrozenTrial]:
        """By arm and seed."""
        found = self.study.get_trials(deepcopy=False, states=(COMPLETE, PRUNED))
        return {(trial.params[ARM], trial.params[SEED]): trial for trial in found}

    def far_behind(self, seed: int) -> GivingUp:
        """The rule for arms, once the control of this seed is over."""
        control = self.experiment.control
        trial = self.over()[control.name, seed]
        epochs = self.laboratory.plan(control).manifest.training.epochs or DEFAULT_EPOCHS
        values = tuple(value for _, value in sorted(trial.intermediate_values.items()))
        return ClearlyBehind(values, trial.user_attrs[ROWS], round(WARM_UP * epochs * control.epochs))

    def result(self, arm: Arm) -> ArmResult:
        """What an arm reached from all seeds."""
        over = self.over()
        trials = {seed: over[arm.name, seed] for seed in self.seeds}
        return ArmResult(
            name=arm.name,
            changes=dict(arm.changes),
            values={seed: trial.value for seed, trial in trials.items() if trial.value is not None},
            stopped=tuple(seed for seed, trial in trials.items() if trial.state is PRUNED),
            skipped=tuple(seed for seed, trial in trials.items() if ROWS not in trial.user_attrs),
        )

    def _keep(self, arm: Arm, seed: int, trained: Trained | None) -> None:
        """trained: None where that was not worth it."""
        given_up = trained is None or trained.stopped
        self._add(
            arm,
            seed,
            PRUNED if given_up else COMPLETE,
            None if trained is None or given_up else trained.score.value,
            {} if trained is None else {ROWS: trained.score.rows},
            () if trained is None else trained.values,
        )

    def _add(
        self,
        arm: Arm,
        seed: int,
        state: optuna.trial.TrialState,
        value: float | None,
        attributes: Mapping[str, int],
        values: Sequence[float],
    ) -> None:
        self.study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=value,
                params={ARM: arm.name, SEED: seed},
                distributions={
                    ARM: optuna.distributions.CategoricalDistribution(self.names),
                    SEED: optuna.distributions.IntDistribution(0, self.experiment.seeds),
                },
                user_attrs=dict(attributes),
                intermediate_values=dict(enumerate(values, 1)),
            )
        )


def _names(run: Run, experiment: Experiment, arms: Sequence[Arm]) -> tuple[str, ...]:
    """Of all arms that there could be, so that more trials go on from the same study."""
    could_be = list(experiment.arms(run) if experiment.race else arms)
    pairs = itertools.permutations(could_be, 2) if experiment.joined else ()
    joined = [arm for first, second in pairs if (arm := first.with_changes_of(second))]
    return (experiment.control.name, *(arm.name for arm in (*could_be, *joined)))


def _study(laboratory: Laboratory, experiment: Experiment, names: Sequence[str]) -> optuna.Study:
    """The trials that are over, of the same arms; what was trained for other ones is found in its folder."""
    laboratory.work.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=f"{experiment.name} {hashlib.blake2b(json.dumps(names).encode(), digest_size=4).hexdigest()}",
        storage=f"sqlite:///{laboratory.work / STORAGE}",
        direction="maximize",
        load_if_exists=True,
    )


def _not_asked(experiment: Experiment, why: str, *, too_few: bool = False) -> Verdict:
    asked = {"experiment": experiment.name, "question": experiment.question}
    return Verdict(**asked, outcome="not asked", answer=why, too_few=too_few)


def _key(arm: Arm) -> str:
    """The same for arms that are the same training."""
    return json.dumps([arm.changes, arm.epochs, arm.leaves_out, _prepared(arm)], sort_keys=True, default=str)


def _prepared(arm: Arm) -> str:
    return f"{arm.prepared.__module__}.{arm.prepared.__qualname__}"


def _name(arm: Arm, plan: Plan, seed: int) -> str:
    """Of a trial's folder: the same for the same training, whichever experiment asks for it."""
    what = json.dumps([plan.signature, arm.epochs, _prepared(arm)])
    return f"{hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}-{seed}"
