"""The cure rate: what retraining by the prescription brings back, against controls of equal compute."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from kddoctor.bench.case import Case
from kddoctor.bench.distil import distil
from kddoctor.bench.fault import Level
from kddoctor.bench.gate import Gate, Severity
from kddoctor.bench.judging import Result
from kddoctor.bench.measuring import measure_case
from kddoctor.bench.plan import all_cases
from kddoctor.bench.recording import Cache, metric_of
from kddoctor.bench.task import find_task
from kddoctor.bench.tier import Tier
from kddoctor.engine.diagnosis import Diagnosis, PrescriptionReport, diagnose, judge
from kddoctor.errors import KDDoctorError
from kddoctor.run import load
from kddoctor.treatment.treat import treat

Means = Literal["prescription", "retrained unchanged", "random prescription", "second diagnosis"]
MEANS: tuple[Means, ...] = ("prescription", "retrained unchanged", "random prescription", "second diagnosis")
#: Tasks whose students are retrained in seconds: two seen and two unseen ones.
CURE_TASKS = ("digits", "movielens", "clothes", "sentiment")
#: A cure that is as good as one.
CURED = 0.8
#: Distance of the seed with which the faulty loop is run once more.
OTHER_SEED = 1000
#: Prescriptions that any run could be given: the control draws one of those that ours is not.
SHELF: tuple[Mapping[str, Any], ...] = (
    {"distillation.temperature": 2.0},
    {"distillation.temperature": 8.0},
    {"distillation.alpha": 0.5},
    {"distillation.alpha": 0.1},
    {"training.epochs": 2.0},
    {"training.learning_rate": 0.3},
)


@dataclass(frozen=True)
class Cure:
    """One retraining: the metric of the sick student, of the treated one and of the healthy twin."""

    key: str
    means: Means
    sick: float
    treated: float
    healthy: float

    @property
    def rate(self) -> float:
        """Share of the lost points that came back."""
        return (self.treated - self.sick) / (self.healthy - self.sick)


def curable(results: Sequence[Result], gate: Gate) -> list[Result]:
    """One run for each code and task that lost enough, was called sick, and that the treatment's loop can retrain."""
    chosen: dict[tuple[str, str], Result] = {}
    for r in sorted(results, key=lambda r: (not r.case.unseen_implementation, r.case.key)):
        plain = (
            r.case.recipe.make_student is None and r.case.recipe.train_set is find_task(r.case.task).recipe.train_set
        )
        lost = gate.severity.get(r.case.key) in (Severity.MODERATE, Severity.SEVERE) and r.harm > 0
        wanted = (
            r.case.group == "fault"
            and r.case.task in CURE_TASKS
            and r.tier is Tier.FULL
            and r.case.seed == Level.SEVERE
        )
        if wanted and plain and lost and r.sick:
            chosen.setdefault((r.case.truth[0], r.case.task), r)
    return sorted(chosen.values(), key=lambda r: r.case.key)


def summarise_cures(cures: Sequence[Cure]) -> dict[str, dict[str, float | int | None]]:
    """Median, share of 0.8 and more, and share of runs that were harmed, by means."""
    rows: dict[str, dict[str, float | int | None]] = {}
    for means in MEANS:
        rates = [c.rate for c in cures if c.means == means]
        rows[means] = {
            "n": len(rates),
            "median": median(rates) if rates else None,
            "share_08": sum(rate >= CURED for rate in rates) / len(rates) if rates else None,
            "harm": sum(rate < 0 for rate in rates) / len(rates) if rates else None,
        }
    return rows


def cure_case(key: str, healthy: float, cache: Cache) -> list[Cure]:
    """Record the case with its code, treat it by every means, and measure on the same held-out rows.

    Kept until the diagnosis prescribes something else.
    """
    path = cache.directory / "cures" / f"{key}-{_prescribed(all_cases()[key], cache)}.json"
    if path.is_file():
        return [Cure(**row) for row in json.loads(path.read_text("utf-8"))]
    torch.set_num_threads(1)
    cures = _cures(all_cases()[key], healthy, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([vars(c) for c in cures]), "utf-8")
    partial.replace(path)
    return cures


def _prescribed(case: Case, cache: Cache) -> str:
    measured = measure_case(case, Tier.FULL, cache).measured
    findings = () if measured is None else judge("run", measured).findings
    changes = [None if f.prescription is None else f.prescription.model_dump(mode="json") for f in findings]
    return hashlib.blake2b(json.dumps(changes, sort_keys=True).encode(), digest_size=6).hexdigest()


def _cures(case: Case, healthy: float, cache: Cache) -> list[Cure]:
    task = find_task(case.task)
    with TemporaryDirectory() as folder:
        sick = Path(folder) / "run"
        distil(sick, task, case.recipe, seed=case.seed, states=cache.states(), baseline=case.baseline, code=True)
        before = metric_of(sick)
        again = Path(folder) / "again"
        distil(again, task, case.recipe, seed=case.seed + OTHER_SEED, states=cache.states(), baseline=False)
        found = [Cure(case.key, "retrained unchanged", before, metric_of(again), healthy)]
        diagnosis = diagnose(load(sick))
        for means in ("prescription", "random prescription", "second diagnosis"):
            given = _given(means, diagnosis, case, float(case.recipe.learning_rate))
            if given is None:
                continue
            output = Path(folder) / means.replace(" ", "-")
            try:
                treat(load(sick), output, diagnosis=given, quiet=True)
            except KDDoctorError:
                continue
            found.append(Cure(case.key, means, before, metric_of(output), healthy))
    return found


def _given(means: str, diagnosis: Diagnosis, case: Case, rate: float) -> Diagnosis | None:
    """The diagnosis whose first treatable cause is the one to be tried, None where there is none."""
    treatable = [f for f in diagnosis.findings if f.prescription is not None and f.prescription.automatic]
    if means == "prescription":
        return diagnosis if diagnosis.causes and diagnosis.causes[0] in treatable else None
    if means == "second diagnosis":
        rest = [f for f in treatable if f not in diagnosis.causes[:1]]
        return _only(diagnosis, rest[0].prescription) if rest and rest[0].prescription else None
    own = diagnosis.causes[0].prescription if diagnosis.causes else None
    shelf = [changes for changes in SHELF if own is None or set(changes) != set(own.changes)]
    changes = dict(random.Random(hashlib.blake2b(case.key.encode()).digest()).choice(shelf))
    if "training.learning_rate" in changes:
        changes["training.learning_rate"] = rate * changes["training.learning_rate"]
    if "training.epochs" in changes:
        changes["training.epochs"] = max(1, round(case.recipe.epochs * changes["training.epochs"]))
    return _only(diagnosis, PrescriptionReport(summary="random", changes=changes, automatic=True, safety="careful"))


def _only(diagnosis: Diagnosis, prescription: PrescriptionReport | None) -> Diagnosis:
    if not diagnosis.causes:
        return diagnosis
    first = diagnosis.causes[0].model_copy(update={"prescription": prescription})
    return diagnosis.model_copy(update={"findings": (first,)})
