"""The cure rate: what retraining by the prescription brings back, against controls of equal compute."""

import ast
import hashlib
import inspect
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from kddoctor.bench.case import Case
from kddoctor.bench.distil import distil
from kddoctor.bench.fault import Level
from kddoctor.bench.figures import counted
from kddoctor.bench.gate import ONE_POINT, Gate, Severity
from kddoctor.bench.judging import Result
from kddoctor.bench.measuring import measure_case
from kddoctor.bench.own_code import keep_own_code
from kddoctor.bench.plan import all_cases
from kddoctor.bench.reach import recoverable
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.recording import Cache, metric_of
from kddoctor.bench.task import find_task
from kddoctor.bench.tier import Tier
from kddoctor.engine.diagnosis import Diagnosis, FindingReport, PrescriptionReport, diagnose, judge
from kddoctor.errors import KDDoctorError, RunError, UsageError
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from kddoctor.run.manifest import Manifest
from kddoctor.treatment.prescription import is_a_guess, prescribe, prescribe_or_ask
from kddoctor.treatment.treat import treat

Means = Literal["prescription", "with experiments", "retrained unchanged", "random prescription", "second diagnosis"]
MEANS: tuple[Means, ...] = (
    "prescription",
    "with experiments",
    "retrained unchanged",
    "random prescription",
    "second diagnosis",
)
#: What a treatment says of itself; "declined" where it trains nothing.
Said = Literal["helped", "did not help", "harmed", "declined", ""]
#: Tasks whose students are retrained in seconds: two seen and two unseen ones.
CURE_TASKS = ("digits", "movielens", "clothes", "sentiment")
#: Shares of the lost points: a cure that is as good as one, and the one that the project asks of itself.
CURED, CLOSED = 0.8, 0.9
#: Trainings for experiments, where a user would give any.
TRIALS = 20
#: Distance of the seed with which the faulty loop is run once more.
OTHER_SEED = 1000
#: Changes with the way in which cures are measured, so that older ones are not taken for new.
VERSION = 4
Json = dict[str, Any]
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
    """One retraining: the metric of the sick student, of the treated one and of the one that it could have been.

    code, task: of the fault; unseen: rules were developed without that task. right: the first cause is a true one.
    treatable: that cause has a treatment that runs by itself. said: what the treatment says of itself. called: the
    verdict on the sick run. treated: as the sick one where it declined.
    """

    key: str
    means: Means
    sick: float
    treated: float
    healthy: float
    code: str
    task: str
    unseen: bool
    right: bool
    treatable: bool
    said: Said = ""
    called: str = ""

    @property
    def rate(self) -> float:
        """Share of the lost points that came back."""
        return (self.treated - self.sick) / (self.healthy - self.sick)

    @property
    def lost(self) -> bool:
        """Whether there are points to bring back at all."""
        return self.healthy - self.sick >= ONE_POINT

    @property
    def closed(self) -> bool:
        """Whether most of them came back."""
        return self.rate >= CLOSED

    @property
    def harmed(self) -> bool:
        """Whether the student is worse than before, by a point or more."""
        return self.sick - self.treated >= ONE_POINT


def curable(results: Sequence[Result], gate: Gate) -> list[Result]:
    """One severe run for each code and task that lost enough, whatever was said of it.

    Of codes that a retraining can treat, and of those that were taken for one of them.
    """
    chosen: dict[tuple[str, str], Result] = {}
    for r in sorted(results, key=lambda r: (not r.case.unseen_implementation, r.case.key)):
        lost = gate.severity.get(r.case.key) in (Severity.MODERATE, Severity.SEVERE) and r.harm > 0
        wanted = (
            r.case.group == "fault"
            and r.case.task in CURE_TASKS
            and r.tier is Tier.FULL
            and r.case.seed == Level.SEVERE
        )
        if wanted and lost and (r.case.truth[0] in treatable_codes() or (r.sick and r.first in treatable_codes())):
            chosen.setdefault((r.case.truth[0], r.case.task), r)
    return sorted(chosen.values(), key=lambda r: r.case.key)


@cache
def treatable_codes() -> frozenset[str]:
    """Codes whose rule prescribes changes that a retraining can carry out, told from the rule's source."""
    return frozenset(code for code, rule in all_rules().items() if _prescribes(rule.judge.__module__))


@cache
def _prescribes(module: str) -> bool:
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "prescribe":
            given = [key for word in node.keywords if word.arg is None for key in _keys(word.value)]
            if any("__" in key for key in (*given, *(word.arg or "" for word in node.keywords))):
                return True
    return False


def _keys(value: ast.AST) -> list[str]:
    """Texts within what is handed over as **…."""
    return [node.value for node in ast.walk(value) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


# Figures --------------------------------------------------------------------------------------------------


def summarise_cures(cures: Sequence[Cure]) -> dict[str, dict[str, float | int | None]]:
    """Median, shares of 0.8 and of 0.9 and more, and share of runs that were harmed, by means."""
    rows: dict[str, dict[str, float | int | None]] = {}
    for means in MEANS:
        of = [c for c in cures if c.means == means and c.lost and c.said != "declined"]
        rates = [c.rate for c in of]
        share = counted([c.closed for c in of])
        rows[means] = {
            "n": len(rates),
            "median": median(rates) if rates else None,
            "share_08": sum(rate >= CURED for rate in rates) / len(rates) if rates else None,
            "share_09": share.value,
            "share_09_low": share.low,
            "share_09_high": share.high,
            "harm": sum(rate < 0 for rate in rates) / len(rates) if rates else None,
        }
    return rows


def summarise_treatment(cures: Sequence[Cure], declined: Sequence[bool]) -> Json:
    """What the project asks of its treatments. declined: of every healthy run, whether ``treat`` trains nothing.

    One treatment a run: with experiments where its cause calls for them, else the prescription alone. A fault that was
    not found, or found and declined, counts as not cured. Only runs with points to bring back and a treatable cause.
    """
    last = {c.key: c for means in MEANS[:2] for c in cures if c.means == means}
    all_treated = [c for c in last.values() if c.said != "declined"]
    counting = [c for c in last.values() if c.lost and c.treatable]
    plain = [c for c in cures if c.means == "prescription" and c.lost and c.treatable]

    def closed(of: Sequence[Cure]) -> Json:
        return asdict(counted([c.closed for c in of]))

    return {
        "trials": TRIALS,
        "closed": closed([c for c in counting if c.unseen]),
        "closed_seen": closed([c for c in counting if not c.unseen]),
        "closed_all": closed(counting),
        "closed_without_experiments": closed(plain),
        "closed_without_doubts": asdict(counted([c.closed and c.called != "healthy" for c in counting if c.unseen])),
        "closed_right": closed([c for c in counting if c.right]),
        "closed_wrong": closed([c for c in counting if not c.right]),
        "median": median(c.rate for c in counting) if counting else None,
        "harmed": asdict(counted([c.harmed for c in all_treated])),
        "harmed_silently": asdict(counted([c.harmed and c.said == "helped" for c in all_treated])),
        "declined_healthy": asdict(counted(declined)),
        "by_code": {code: _of_code(code, counting) for code in sorted({c.code for c in counting})},
        "not_closed": [
            {**asdict(c), "rate": c.rate, "label": _label(c)} for c in sorted(counting, key=_rank) if not c.closed
        ],
    }


def _of_code(code: str, cures: Sequence[Cure]) -> Json:
    of = [c for c in cures if c.code == code]
    return {
        "n": len(of),
        "right": sum(c.right for c in of),
        "closed": sum(c.closed for c in of),
        "median": median(c.rate for c in of),
    }


def _rank(cure: Cure) -> tuple[str, str, str]:
    return cure.code, cure.task, cure.key


def _label(cure: Cure) -> str:
    case = all_cases().get(cure.key)
    return cure.key if case is None else case.label


def declines(case: Case, cache: Cache) -> bool:
    """Whether ``kddoctor treat`` would train nothing for a recorded case. Nothing is trained to find that out."""
    measured = measure_case(case, Tier.FULL, cache).measured
    if measured is None:
        return True
    try:
        prescribe(load(cache.run(case)).manifest, judge("run", measured))
    except UsageError:
        return True
    return False


# Retraining -----------------------------------------------------------------------------------------------


def cure_case(key: str, healthy: float, cache: Cache) -> list[Cure]:
    """Record the case with its code, treat it by every means, and measure on the same held-out rows.

    Kept until the diagnosis prescribes something else.
    """
    case = all_cases()[key]
    make = lambda: [asdict(c) for c in _cures(case, healthy, cache)]  # noqa: E731
    return [Cure(**row) for row in kept(cache, f"{key}-{_prescribed(case, cache)}", make)]


def kept(cache: Cache, name: str, make: Callable[[], Any]) -> Any:
    """What ``make`` trains and measures, as JSON; from the cache where it was made before under this name."""
    path = cache.directory / "cures" / f"{name}.json"
    if not path.is_file():
        torch.set_num_threads(1)
        text = json.dumps(make())
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(text, "utf-8")
        partial.replace(path)
    return json.loads(path.read_text("utf-8"))


def _prescribed(case: Case, cache: Cache) -> str:
    measured = measure_case(case, Tier.FULL, cache).measured
    findings = () if measured is None else judge("run", measured).findings
    changes = [None if f.prescription is None else f.prescription.model_dump(mode="json") for f in findings]
    text = json.dumps([VERSION, changes, TRIALS], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _cures(case: Case, healthy: float, cache: Cache) -> list[Cure]:
    task = find_task(case.task)
    with TemporaryDirectory() as folder:
        sick = Path(folder) / "run"
        distil(sick, task, case.recipe, seed=case.seed, states=cache.states(), baseline=case.baseline, code=True)
        keep_own_code(sick, case)
        before, diagnosis = metric_of(sick), _diagnosed(sick)
        first = diagnosis.causes[0] if diagnosis and diagnosis.verdict == "sick" and diagnosis.causes else None
        right = first is not None and first.code in case.truth
        by_itself = first is not None and _automatic(first)
        found = Cure(
            case.key,
            "prescription",
            before,
            before,
            recoverable(case, healthy, sick, cache),
            case.truth[0],
            case.task,
            case.unseen_task,
            right,
            # Of a cause that was not found, its code alone says whether it can be treated.
            by_itself if right else case.truth[0] in treatable_codes(),
            called="" if diagnosis is None else diagnosis.verdict,
        )
        cures = [
            replace(found, means="retrained unchanged", treated=_again(case, case.recipe, OTHER_SEED, cache, folder)),
            replace(found, means="random prescription", treated=_again(case, _tried(case), 0, cache, folder)),
        ]
        if diagnosis is None:
            return [*cures, replace(found, said="declined")]
        cures.append(_treated(found, sick, Path(folder) / "treated", diagnosis, trials=0))
        if asks(load(sick).manifest, diagnosis):
            asked = replace(found, means="with experiments")
            cures.append(_treated(asked, sick, Path(folder) / "asked", diagnosis, trials=TRIALS))
        second = _by_the_second(diagnosis)
        if second is not None:
            other = replace(found, means="second diagnosis")
            cures.append(_treated(other, sick, Path(folder) / "second", second, trials=0))
    return cures


def asks(manifest: Manifest, diagnosis: Diagnosis) -> bool:
    """Whether a user would give trials: where nothing is prescribed, or what is prescribed is a guess."""
    given = prescribe_or_ask(manifest, diagnosis, (), TRIALS)
    return not given.changes or is_a_guess(given, diagnosis)


def _diagnosed(run: Path) -> Diagnosis | None:
    """None where the record is refused: then there is nothing to treat by."""
    try:
        return diagnose(load(run))
    except RunError:
        return None


def as_treated(run: Path, output: Path, diagnosis: Diagnosis, *, trials: int) -> tuple[float | None, Said]:
    """The metric of the student and what is said of it, as by ``kddoctor treat``.

    None where that declines, or the retraining fails with a message: then nothing changes.
    """
    try:
        result = treat(load(run), output, diagnosis=diagnosis, trials=trials, quiet=True)
    except KDDoctorError:
        return None, "declined"
    return metric_of(output), "helped" if result.helped else "harmed" if result.harmed else "did not help"


def _treated(found: Cure, sick: Path, output: Path, diagnosis: Diagnosis, *, trials: int) -> Cure:
    after, said = as_treated(sick, output, diagnosis, trials=trials)
    return replace(found, treated=found.sick if after is None else after, said=said)


def _again(case: Case, recipe: Recipe, more: int, cache: Cache, folder: str) -> float:
    """The metric of the user's own loop run once more, with another seed or another setting."""
    run = Path(folder) / f"again-{more}"
    distil(run, find_task(case.task), recipe, seed=case.seed + more, states=cache.states(), baseline=False)
    return metric_of(run)


def _tried(case: Case) -> Recipe:
    return random.Random(case.key).choice(SHELF)(case.recipe)


def _automatic(found: FindingReport) -> bool:
    """Whether a retraining carries out what is prescribed for it."""
    return found.prescription is not None and found.prescription.automatic


def _by_the_second(diagnosis: Diagnosis) -> Diagnosis | None:
    """As if the next best explanation were the cause."""
    rest = [f for f in diagnosis.findings if _automatic(f) and f not in diagnosis.causes[:1]]
    return _only(diagnosis, rest[0].prescription) if rest else None


def _only(diagnosis: Diagnosis, prescription: PrescriptionReport | None) -> Diagnosis:
    if not diagnosis.causes:
        return diagnosis
    first = diagnosis.causes[0].model_copy(update={"prescription": prescription})
    return diagnosis.model_copy(update={"findings": (first,)})
