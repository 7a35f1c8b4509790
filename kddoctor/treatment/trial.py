"""Students that are trained only to be measured: other seeds of a treatment, and the arms of experiments."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Protocol

from kddoctor.run.directory import Run
from kddoctor.treatment.assisting import teacher_of
from kddoctor.treatment.checkpointed import GivingUp, Trained, never, train
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.experiments.experiment import as_it_is
from kddoctor.treatment.fitting import fitting_schedule
from kddoctor.treatment.own_order import fitted_to_teacher
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.schedule import Schedule, Shape, schedule_of
from kddoctor.treatment.scoring import Score
from kddoctor.treatment.session import begin
from kddoctor.treatment.training import Progress
from kddoctor.treatment.work_directory import TRIAL


@dataclass(frozen=True)
class Trial:
    """One student. folder: keeps its checkpoints, then its result, so that nothing is trained twice.

    budget: epochs, in multiples of the plan's. prepared: the data and models that it has. may_fail: a script that
    fails at it gives up this trial alone.
    """

    plan: Plan
    folder: Path
    seed: int
    budget: float = 1.0
    prepared: Callable[[LoadedCode], LoadedCode] = as_it_is
    give_up: GivingUp = never
    may_fail: bool = False

    def changed(self, schedule: Schedule) -> Schedule:
        """The plan's schedule with this seed and budget."""
        return replace(schedule, seed=self.seed, epochs=max(1, round(schedule.epochs * self.budget)))

    @property
    def signature(self) -> str:
        """What has to be the same for a result or a checkpoint to be this trial's."""
        return json.dumps([self.plan.signature, asdict(self.changed(schedule_of(self.plan.manifest.training)))])


#: Schedule and course of the rate by what a probe of the rate depends on: signature of the plan, and data and models.
Probed = dict[tuple[str, Callable[[LoadedCode], LoadedCode]], tuple[Schedule, Shape]]


class AfterEpoch(Protocol):
    """Told about every finished epoch: which of the trials, how many epochs, and how the student then did."""

    def __call__(self, number: int, epoch: int, score: Score, /) -> object: ...


def silent(_number: int, _epoch: int, _score: Score) -> None:
    """Nobody is told."""


class Trials(Protocol):
    """A way of training students that do not depend on one another: in turn, or beside each other elsewhere."""

    def __call__(
        self,
        trials: Sequence[Trial],
        finished: Callable[[int, Trained], object],
        after_epoch: AfterEpoch = silent,
    ) -> None:
        """finished: called with each one's place in ``trials`` and its result, as soon as there is one."""


def one_by_one(run: Run, code: LoadedCode) -> Trials:
    """In this process, in turn. What a probe of the rate found for one seed of a plan holds for the others."""
    probed: Probed = {}

    def carry_out(
        trials: Sequence[Trial], finished: Callable[[int, Trained], object], after_epoch: AfterEpoch = silent
    ) -> None:
        for number, trial in enumerate(trials):
            finished(number, run_trial(run, code, trial, partial(after_epoch, number), probed))

    return carry_out


def other_seeds(plan: Plan, trials: Trials, seeds: int, work: Path, *, progress: Progress) -> dict[int, Trained]:
    """The plan carried out from ``seeds`` − 1 further seeds, by seed."""
    first, epochs = plan.manifest.training.seed or 0, plan.manifest.training.epochs
    wanted = [Trial(plan, work / f"seed-{seed}", seed) for seed in range(first + 1, first + seeds)]
    found: dict[int, Trained] = {}
    trials(
        wanted,
        lambda number, trained: found.update({wanted[number].seed: trained}),
        lambda _number, epoch, score: progress(epoch, epochs or epoch, score.accuracy),
    )
    return dict(sorted(found.items()))


def run_trial(
    run: Run,
    code: LoadedCode,
    trial: Trial,
    after_epoch: Callable[[int, Score], object] = lambda _epoch, _score: None,
    probed: Probed | None = None,
) -> Trained:
    """Train one student; where its result lies in its folder already, that is taken.

    probed: schedules that probes of earlier trials found, and that of this one afterwards.
    """
    probed = {} if probed is None else probed
    result = trial.folder / TRIAL
    if result.is_file():
        kept = json.loads(result.read_text("utf-8"))
        if kept["signature"] == trial.signature:
            return _as_far_as_allowed(Trained.from_json(kept["trained"]), trial)
    code = trial.prepared(code)
    plan = fitted_to_teacher(trial.plan, code)
    with teacher_of(run, plan, code, trial.folder / "assistant") as teacher:
        what = (plan.signature, trial.prepared)
        if plan.loop.assistant or what not in probed:  # each trial's assistant is its own
            probed[what] = fitting_schedule(run, plan, code, teacher)
        schedule, shape = probed[what]
        session = begin(plan, code, trial.changed(schedule), shape, teacher)
        work = trial.folder / "checkpoint"
        trained = train(session, work, trial.signature, after_epoch, give_up=trial.give_up)
        session.close()
    if not trained.stopped:
        unfinished = result.with_suffix(".partial")
        unfinished.write_text(json.dumps({"signature": trial.signature, "trained": asdict(trained)}), encoding="utf-8")
        unfinished.replace(result)
    for folder in ("checkpoint", "assistant"):
        rmtree(trial.folder / folder, ignore_errors=True)
    return trained


def _as_far_as_allowed(trained: Trained, trial: Trial) -> Trained:
    """A result that another experiment asked for may be one that this experiment would have given up."""
    given_up = any(trial.give_up(trained.values[:epochs]) for epochs in range(1, len(trained.values) + 1))
    return replace(trained, stopped=given_up)
