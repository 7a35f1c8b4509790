"""Makes the record of a case, once; later calls find it."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from kddoctor.bench.case import Case
from kddoctor.bench.distil import distil, labels_only
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.states import States
from kddoctor.bench.task import find_task
from kddoctor.run import load

#: Modification time of every file of a record: when it was made would tell cases apart.
NO_TIME = 1_000_000_000
OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """How a run ended on held-out rows, measured here and not by the rules: accuracy, or area under the ROC curve.

    baseline: of the labels-only twin, where one was trained. seconds: of training and recording.
    """

    teacher: float
    student: float
    baseline: float | None
    seconds: float


@dataclass(frozen=True)
class Cache:
    """runs: <key>/run and <key>/outcome.json. states: trained teachers and labels-only students."""

    directory: Path

    def run(self, case: Case) -> Path:
        """Where the record of a case lies; its name says nothing."""
        return self.directory / "runs" / case.key / "run"

    def states(self) -> States:
        """Weights that several cases share."""
        return States(self.directory / "states")

    def outcome(self, case: Case) -> Outcome | None:
        """How a case ended, None where it has not been run."""
        path = self.run(case).parent / OUTCOME
        return Outcome(**json.loads(path.read_text("utf-8"))) if path.is_file() else None


def record_case(case: Case, cache: Cache) -> Outcome:
    """Train and record one case, unless it is there already. A half-made record is made anew."""
    known = cache.outcome(case)
    if known is not None:
        return known
    torch.set_num_threads(1)
    run = cache.run(case)
    shutil.rmtree(run.parent, ignore_errors=True)
    run.parent.mkdir(parents=True)
    made = distil(run, find_task(case.task), case.recipe, seed=case.seed, states=cache.states(), baseline=case.baseline)
    _forget_time(run)
    outcome = _outcome(case, run, cache, made.seconds)
    path = run.parent / OUTCOME
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(outcome)), "utf-8")
    partial.replace(path)
    return outcome


def _forget_time(run: Path) -> None:
    for path in (run, *run.rglob("*")):
        os.utime(path, (NO_TIME, NO_TIME))


def _outcome(case: Case, run: Path, cache: Cache, seconds: float) -> Outcome:
    task = find_task(case.task)
    part = load(run).predictions("val")
    assert part is not None
    assert part.teacher_logits is not None
    assert part.student_logits is not None
    labels = np.asarray(part.labels.read())
    baseline = None if part.baseline_logits is None else _metric(part.baseline_logits.read(), labels)
    if baseline is None and case.sound:
        # Sound runs are certified against it, whether or not the record holds it.
        alone = labels_only(task, case.recipe, case.seed, cache.states())
        with torch.no_grad():
            inputs, truth = case.recipe.val_set(task.data().val).tensors
            baseline = _metric(alone(inputs).numpy(), truth.numpy())
    return Outcome(
        teacher=_metric(part.teacher_logits.read(), labels),
        student=_metric(part.student_logits.read(), labels),
        baseline=baseline,
        seconds=seconds,
    )


def metric_of(run: Path) -> float:
    """The student's metric on the held-out rows of a record."""
    part = load(run).predictions("val")
    assert part is not None
    assert part.student_logits is not None
    return _metric(part.student_logits.read(), np.asarray(part.labels.read()))


def metric_on(logits: Tensor, labels: Tensor) -> float:
    """The metric of a model's answers to rows of a task."""
    return _metric(logits.numpy(), labels.numpy())


def _metric(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Accuracy, or area under the ROC curve for one logit a row; chance where the logits are not finite."""
    if logits.ndim == 1:
        return float(roc_auc_score(labels, logits)) if np.isfinite(logits).all() else 0.5
    if not np.isfinite(logits).all():
        return 0.0
    counts = labels != IGNORED
    return float((logits.argmax(-1) == labels)[counts].mean())
