"""Sound runs that are put to experiments all the same, by somebody who doubts the verdict: what that does to them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kddoctor.bench.case import Case
from kddoctor.bench.cure import CURE_TASKS, TRIALS, VERSION, as_treated, kept
from kddoctor.bench.distil import distil
from kddoctor.bench.figures import counted
from kddoctor.bench.gate import ONE_POINT
from kddoctor.bench.own_code import keep_own_code
from kddoctor.bench.plan import all_cases
from kddoctor.bench.recording import Cache, metric_of
from kddoctor.bench.task import find_task
from kddoctor.engine.diagnosis import diagnose
from kddoctor.run import load

#: Sound runs of each task, of every kind that there is in turn.
OF_EACH_TASK = 3
Json = dict[str, Any]


@dataclass(frozen=True)
class Doubt:
    """before, after: the metric of the student; the same where ``treat`` declined."""

    key: str
    before: float
    after: float
    said: str


def doubted(sound: Iterable[Case]) -> list[Case]:
    """The first few sound runs of each task whose students are retrained in seconds, plain and unusual ones in turn."""
    chosen = []
    for task in CURE_TASKS:
        of = [case for case in sound if case.task == task]
        groups = [[c for c in of if c.group == group] for group in sorted({c.group for c in of})]
        ranked = sorted(
            (place, case.key, case) for group in groups for place, case in enumerate(sorted(group, key=lambda c: c.key))
        )
        chosen += [case for _, _, case in islice(ranked, OF_EACH_TASK)]
    return chosen


def doubt_case(key: str, cache: Cache) -> Doubt:
    """Record a sound run with its code and treat it with experiments. Kept until that is done in another way."""
    make = lambda: asdict(_doubted(all_cases()[key], cache))  # noqa: E731
    return Doubt(**kept(cache, f"{key}-doubt-{VERSION}-{TRIALS}", make))


def _doubted(case: Case, cache: Cache) -> Doubt:
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        task, states = find_task(case.task), cache.states()
        distil(run, task, case.recipe, seed=case.seed, states=states, baseline=case.baseline, code=True)
        keep_own_code(run, case)
        before = metric_of(run)
        after, said = as_treated(run, Path(folder) / "treated", diagnose(load(run)), trials=TRIALS)
        return Doubt(case.key, before, before if after is None else after, said)


def summarise_doubts(doubts: Sequence[Doubt]) -> Json:
    """Shares that are left alone, that are another student now, and that are worse by a point or more."""
    return {
        "doubted_declined": asdict(counted([d.said == "declined" for d in doubts])),
        "doubted_harmed": asdict(counted([d.before - d.after >= ONE_POINT for d in doubts])),
    }
