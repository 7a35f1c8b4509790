"""Runs the benchmark: records in parallel processes, measures, judges. Interrupted, it goes on where it stopped."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

from kddoctor.bench.case import Case, Group
from kddoctor.bench.cure import Cure, cure_case
from kddoctor.bench.doubting import Doubt, doubt_case
from kddoctor.bench.fault import Level, all_faults
from kddoctor.bench.judging import Result, judge_measured
from kddoctor.bench.measuring import measure_case
from kddoctor.bench.plan import find_case
from kddoctor.bench.recording import Cache, record_case
from kddoctor.bench.tier import Tier

#: What is going on, things done, things in all.
Progress = Callable[[str, int, int], object]
#: Tasks whose records are thinned.
THINNED_TASKS = ("digits", "sentiment")
THINNED_GROUPS: tuple[Group, ...] = ("fault", "healthy", "lookalike")
Item = TypeVar("Item")

#: Cases a process takes at a time: starting one costs an import of torch.
BLOCK = 8


@dataclass(frozen=True)
class Broken:
    """A case that could not be made or measured: a defect of the benchmark, shown and counted."""

    label: str
    error: str


@dataclass(frozen=True)
class Bench:
    """results: of every case at every tier, in the order of the cases."""

    results: tuple[Result, ...]
    broken: tuple[Broken, ...]


def run_bench(cases: Sequence[Case], cache: Cache, *, jobs: int, progress: Progress, thin: bool = True) -> Bench:
    """Record what is missing, measure what has changed, judge everything. thin: also thinned records."""
    wanted = {case.key: case for case in (*cases, *(case.twin for case in cases))}
    made = _parallel(_record, [(cache.directory, key) for key in wanted], jobs, "recording", progress)
    measured = _parallel(
        _measure,
        [(cache.directory, case.key, tier) for case in cases for tier in (tiers(case) if thin else (Tier.FULL,))],
        jobs,
        "measuring",
        progress,
    )
    broken = {item[1]: error for item, error in made} | {item[1]: error for item, error in measured}
    whole = [case for case in cases if case.key not in broken and case.twin.key not in broken]
    return Bench(
        tuple(_judged(whole, cache, thin)), tuple(Broken(wanted[key].label, error) for key, error in broken.items())
    )


def run_cures(chosen: Sequence[Result], cache: Cache, *, jobs: int, progress: Progress) -> list[Cure]:
    """Retrain these by their prescription and by the controls. What breaks in the benchmark itself is left out."""
    items = [(cache.directory, r.case.key, r.twin.student) for r in chosen]
    failed = {item[1] for item, _ in _parallel(_cure, items, jobs, "treating", progress)}
    return [cure for _, key, healthy in items if key not in failed for cure in cure_case(key, healthy, cache)]


def run_doubts(chosen: Sequence[Case], cache: Cache, *, jobs: int, progress: Progress) -> list[Doubt]:
    """Put sound runs to experiments."""
    items = [(cache.directory, case.key) for case in chosen]
    failed = {item[1] for item, _ in _parallel(_doubt, items, jobs, "doubting", progress)}
    return [doubt_case(key, cache) for _, key in items if key not in failed]


def tiers(case: Case) -> tuple[Tier, ...]:
    """Thinned records of the severe faults, as they are made first and as they are held out, and of one seed of what is
    sound; the others in full only. Of one seen and one unseen task, which is enough to compare tiers.
    """
    chosen = case.seed == Level.SEVERE and _first_or_held_out(case) if case.group == "fault" else case.seed == 1
    thin = chosen and case.group in THINNED_GROUPS and case.task in THINNED_TASKS
    return tuple(Tier) if thin else (Tier.FULL,)


def _first_or_held_out(case: Case) -> bool:
    return case.unseen_implementation or case.name == all_faults()[case.truth[0]].seen[0].__name__


def _judged(cases: Iterable[Case], cache: Cache, thin: bool) -> Iterable[Result]:
    for case in cases:
        outcome, twin = cache.outcome(case), cache.outcome(case.twin)
        assert outcome is not None
        assert twin is not None
        for tier in tiers(case) if thin else (Tier.FULL,):
            yield judge_measured(case, tier, outcome, twin, measure_case(case, tier, cache))


def _record(item: tuple[Path, str]) -> None:
    record_case(find_case(item[1]), Cache(item[0]))


def _measure(item: tuple[Path, str, Tier]) -> None:
    measure_case(find_case(item[1]), item[2], Cache(item[0]))


def _cure(item: tuple[Path, str, float]) -> None:
    cure_case(item[1], item[2], Cache(item[0]))


def _doubt(item: tuple[Path, str]) -> None:
    doubt_case(item[1], Cache(item[0]))


def _single_threaded() -> None:
    """As many threads as processes: those of linear algebra would wait for each other, busily."""
    torch.set_num_threads(1)
    threadpool_limits(1)


def _guarded(work: Callable[[Item], None], items: Sequence[Item]) -> list[tuple[Item, str]]:
    failed = []
    for item in items:
        try:
            work(item)
        except Exception as error:  # one broken case must not cost the others
            failed.append((item, f"{type(error).__name__}: {error}"))
    return failed


def _parallel(
    work: Callable[[Item], None], items: Sequence[Item], jobs: int, name: str, progress: Progress
) -> list[tuple[Item, str]]:
    """What failed, with the reason. Blocks of work are small, so that little is lost by an interruption."""
    failed: list[tuple[Item, str]] = []
    done = 0
    progress(name, 0, len(items))
    # Fork would copy threads of torch that are not running in the child.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_single_threaded) as pool:
        blocks = [items[start : start + BLOCK] for start in range(0, len(items), BLOCK)]
        waiting = {pool.submit(_guarded, work, block): len(block) for block in blocks}
        try:
            for future in as_completed(waiting):
                failed += future.result()
                done += waiting[future]
                progress(name, done, len(items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed
