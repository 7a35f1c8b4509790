"""The cure rate: what retraining by the prescription brings back, against controls of equal compute."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal

import torch

from kddoctor.bench.case import Case
from kddoctor.bench.distil import distil
from kddoctor.bench.fault import Level
from kddoctor.bench.gate import Gate, Severity
from kddoctor.bench.judging import Result
from kddoctor.bench.measuring import measure_case
from kddoctor.bench.plan import all_cases
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.recording import Cache, metric_of
from kddoctor.bench.task import find_task
from kddoctor.bench.tier import Tier
from kddoctor.engine.diagnosis import Diagnosis, FindingReport, PrescriptionReport, diagnose, judge
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
#: What people try when they do not know: the control draws one of these changes of the script.
SHELF: tuple[Callable[[Recipe], Recipe], ...] = (
    lambda recipe: replace(recipe, temperature=recipe.temperature / 2),
    lambda recipe: replace(recipe, temperature=recipe.temperature * 2),
    lambda recipe: replace(recipe, alpha=0.5),
    lambda recipe: replace(recipe, alpha=0.1),
    lambda recipe: replace(recipe, epochs=recipe.epochs * 2),
    lambda recipe: replace(recipe, learning_rate=recipe.learning_rate / 3),
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
        found = [
            Cure(
                case.key, "retrained unchanged", before, _again(case, case.recipe, OTHER_SEED, cache, folder), healthy
            ),
            Cure(case.key, "random prescription", before, _again(case, _tried(case), 0, cache, folder), healthy),
        ]
        diagnosis = diagnose(load(sick))
        given_by: dict[Means, Diagnosis | None] = {
            "prescription": _by_the_first(diagnosis),
            "second diagnosis": _by_the_second(diagnosis),
        }
        for means, given in given_by.items():
            if given is None:
                continue
            output = Path(folder) / means.replace(" ", "-")
            try:
                treat(load(sick), output, diagnosis=given, quiet=True)
            except KDDoctorError:
                continue
            found.append(Cure(case.key, means, before, metric_of(output), healthy))
    return found


def _again(case: Case, recipe: Recipe, more: int, cache: Cache, folder: str) -> float:
    """The metric of the user's own loop run once more, with another seed or another setting."""
    run = Path(folder) / f"again-{more}"
    distil(run, find_task(case.task), recipe, seed=case.seed + more, states=cache.states(), baseline=False)
    return metric_of(run)


def _tried(case: Case) -> Recipe:
    return random.Random(case.key).choice(SHELF)(case.recipe)


def _treatable(diagnosis: Diagnosis) -> list[FindingReport]:
    return [f for f in diagnosis.findings if f.prescription is not None and f.prescription.automatic]


def _by_the_first(diagnosis: Diagnosis) -> Diagnosis | None:
    """The diagnosis itself, None where its first cause has no treatment that runs by itself."""
    return diagnosis if diagnosis.causes and diagnosis.causes[0] in _treatable(diagnosis) else None


def _by_the_second(diagnosis: Diagnosis) -> Diagnosis | None:
    """As if the next best explanation were the cause."""
    rest = [f for f in _treatable(diagnosis) if f not in diagnosis.causes[:1]]
    return _only(diagnosis, rest[0].prescription) if rest else None


def _only(diagnosis: Diagnosis, prescription: PrescriptionReport | None) -> Diagnosis:
    if not diagnosis.causes:
        return diagnosis
    first = diagnosis.causes[0].model_copy(update={"prescription": prescription})
    return diagnosis.model_copy(update={"findings": (first,)})
