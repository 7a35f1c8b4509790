"""Students that are trained only to be measured: other seeds of a treatment, and the arms of experiments."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from shutil import rmtree

from kddoctor.run.directory import Run
from kddoctor.treatment.checkpointed import AfterEpoch, Trained, train
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.retrain import fitting_schedule
from kddoctor.treatment.schedule import Schedule, schedule_of
from kddoctor.treatment.scoring import Score
from kddoctor.treatment.session import begin, planned_teacher
from kddoctor.treatment.training import Progress
from kddoctor.treatment.work_directory import TRIAL


def other_seeds(
    run: Run, plan: Plan, code: LoadedCode, seeds: int, work: Path, *, progress: Progress
) -> dict[int, Trained]:
    """The plan carried out from ``seeds`` − 1 further seeds, by seed."""
    first, epochs = plan.manifest.training.seed or 0, plan.manifest.training.epochs

    def after_epoch(epoch: int, score: Score) -> None:
        progress(epoch, epochs or epoch, score.accuracy)

    found = {}
    for seed in range(first + 1, first + seeds):
        seeded = partial(replace, seed=seed)
        found[seed] = run_trial(run, plan, code, work / f"seed-{seed}", seeded, after_epoch)
    return found


def run_trial(
    run: Run,
    plan: Plan,
    code: LoadedCode,
    work: Path,
    change: Callable[[Schedule], Schedule],
    after_epoch: AfterEpoch = lambda _epoch, _score: None,
) -> Trained:
    """Train one student by a plan. work: keeps its checkpoints, then its result, so that nothing is trained twice.

    change: of the schedule that the plan has: another seed, a shorter budget.
    """
    result = work / TRIAL
    signature = json.dumps([plan.signature, asdict(change(schedule_of(plan.manifest.training)))])
    if result.is_file():
        kept = json.loads(result.read_text("utf-8"))
        if kept["signature"] == signature:
            return Trained(**{**kept["trained"], "score": Score(**kept["trained"]["score"])})
    with planned_teacher(code.teacher, plan) as teacher:
        schedule, shape = fitting_schedule(run, plan, code, teacher)
        session = begin(plan, code, change(schedule), shape, teacher)
        trained = train(session, work / "checkpoint", signature, after_epoch)
        session.close()
    unfinished = result.with_suffix(".partial")
    unfinished.write_text(json.dumps({"signature": signature, "trained": asdict(trained)}), encoding="utf-8")
    unfinished.replace(result)
    rmtree(work / "checkpoint", ignore_errors=True)
    return trained
