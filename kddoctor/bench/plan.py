"""Which cases make up the benchmark."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from kddoctor.bench.case import Case, Group
from kddoctor.bench.fault import Edit, Fault, Level, all_faults
from kddoctor.bench.healthy import HEALTHY
from kddoctor.bench.held_out import HELD_OUT
from kddoctor.bench.lookalikes import LOOKALIKES
from kddoctor.bench.looked_at import LOOKED_AT
from kddoctor.bench.outside import OUTSIDE
from kddoctor.bench.pairs import PAIRS, combined
from kddoctor.bench.practices import PRACTICES
from kddoctor.bench.reported import REPORTED
from kddoctor.bench.task import NAMES, TRIAL_TASKS, Task, find_task
from kddoctor.bench.variant import Variant

#: Seeds of the plain sound runs of each task; faults use the first three, one a level.
TWIN_SEEDS = range(6)
#: Seeds of sound variants and of faults outside the catalogue.
VARIANT_SEEDS = (1,)
OUTSIDE_SEEDS = (1, 2)
#: Tasks so quick that every setting of a knob is run; the others take the mildest and the most severe.
QUICK_TASKS = ("digits", "movielens")
#: Tasks on which pairs are made, and those on which bugs that were reported are rebuilt.
PAIR_TASKS = ("digits", "language", "clothes")
REPORTED_TASKS = ("digits", "language", "clothes")
#: Implementations of a code that are run, of those that were held out once.
LATEST = 1
#: Codes of which mild cases are made on all tasks, and moderate ones on the quick tasks; of the others the severe ones,
#: and mild ones on the quick tasks alone.
EVERY_LEVEL = {
    *("KD101", "KD102", "KD103", "KD105", "KD106", "KD110", "KD201", "KD202", "KD203", "KD204", "KD205", "KD207"),
    *("KD208", "KD211", "KD301", "KD402", "KD502", "KD505"),
}


def all_cases() -> Mapping[str, Case]:
    """Every case of the report by key, in an order that says nothing about them; no record is made twice."""
    return _by_key(NAMES)


def cases_of(tasks: Iterable[str]) -> list[Case]:
    """The cases of these tasks, of the report's or of those on trial."""
    chosen = set(tasks)
    plans = [_by_key(names) for names in (NAMES, TRIAL_TASKS) if chosen & set(names)]
    return [case for plan in plans for case in plan.values() if case.task in chosen]


def find_case(key: str) -> Case:
    """A case of any task by its key; those on trial are planned only when one of them is asked for."""
    return all_cases().get(key) or _by_key(TRIAL_TASKS)[key]


@cache
def _by_key(tasks: tuple[str, ...]) -> Mapping[str, Case]:
    cases: dict[str, Case] = {}
    for case in _cases(tasks):
        cases.setdefault(case.key, case)
    return dict(sorted(cases.items()))


def quick_cases() -> list[Case]:
    """A slice of a few minutes on two cores: the digits, each fault as it is made first, our own variants once."""
    first = {code: fault.seen[0].__name__ for code, fault in all_faults().items()}
    chosen = []
    for case in all_cases().values():
        seeds = (3,) if case.group == "fault" else (1,)
        known = case.name == first[case.truth[0]] if case.group == "fault" else case.group != "practice"
        if case.task == QUICK_TASKS[0] and case.seed in seeds and known:
            chosen.append(case)
    return chosen


def _cases(tasks: Iterable[str]) -> Iterator[Case]:
    for name in tasks:
        task = find_task(name)
        for seed in TWIN_SEEDS:
            for baseline in (True, False):
                yield Case("twin", name, "twin", (), task.recipe, seed, baseline=baseline)
        yield from _sound(task)
        yield from _faulty(task)
        yield from _outside(task)


def _sound(task: Task) -> Iterator[Case]:
    groups: tuple[tuple[Group, tuple[Variant, ...]], ...] = (
        ("healthy", HEALTHY),
        ("lookalike", LOOKALIKES),
        ("practice", PRACTICES),
    )
    for group, variants in groups:
        for variant in variants:
            for seed in VARIANT_SEEDS if _fits(variant, task) else ():
                yield Case(
                    group,
                    task.name,
                    variant.name,
                    (),
                    variant.edit(task.recipe),
                    seed,
                    baseline=_drawn(task.name, variant.name, seed),
                )


def _faulty(task: Task) -> Iterator[Case]:
    for code, fault in all_faults().items():
        if task.kind in fault.kinds:
            yield from _of_fault(task, fault, _in_sight(task, fault), held_out=False)
            yield from _of_fault(task, fault, HELD_OUT.get(code, ()), held_out=True)
    for first, second in PAIRS if task.name in PAIR_TASKS else ():
        one, other = all_faults()[first], all_faults()[second]
        if task.kind in one.kinds and task.kind in other.kinds:
            edit = combined(one.seen[0], other.seen[0])
            yield Case(
                "pair",
                task.name,
                f"{first}+{second}",
                (first, second),
                edit(task.recipe, Level.SEVERE),
                1,
                Level.SEVERE,
                baseline=_drawn(task.name, first + second, 1),
            )


def _in_sight(task: Task, fault: Fault) -> Iterable[Edit]:
    """The implementations that rules were developed with; on unseen and on slow tasks the first ones stand for all.

    Of those that were held out once, the latest: what was learned from older ones, tests hold, and all of them together
    would take the benchmark beyond an hour.
    """
    if task.name in QUICK_TASKS or fault.kinds == ("tokens",):
        return (*fault.seen, *fault.unseen, *LOOKED_AT.get(fault.code, ())[-LATEST:])
    return fault.seen


def _of_fault(task: Task, fault: Fault, edits: Iterable[Edit], *, held_out: bool) -> Iterator[Case]:
    for edit in edits:
        for level in _levels(task, fault):
            yield Case(
                "fault",
                task.name,
                edit.__name__,
                (fault.code,),
                edit(task.recipe, level),
                int(level),
                # Without a knob they differ in their seed alone.
                level if fault.knob else None,
                unseen_implementation=held_out,
                # Drawn, so that whether a baseline was recorded says nothing about what is wrong.
                baseline=_drawn(task.name, fault.code, edit.__name__, level),
            )


def _levels(task: Task, fault: Fault) -> tuple[Level, ...]:
    quick = task.name in QUICK_TASKS
    if fault.code not in EVERY_LEVEL:
        return (Level.MILD, Level.SEVERE) if quick and fault.knob else (Level.SEVERE,)
    return tuple(Level) if fault.knob and quick else (Level.MILD, Level.SEVERE)


def _outside(task: Task) -> Iterator[Case]:
    for variant in OUTSIDE:
        if _fits(variant, task):
            for seed in OUTSIDE_SEEDS:
                yield Case(
                    "outside",
                    task.name,
                    variant.name,
                    (),
                    variant.edit(task.recipe),
                    seed,
                    baseline=_drawn(task.name, variant.name, seed),
                )
    for bug in REPORTED:
        if task.kind in bug.kinds and task.name in REPORTED_TASKS:
            yield Case("reported", task.name, bug.name, bug.codes, bug.edit(task.recipe), 2)


def _fits(variant: Variant, task: Task) -> bool:
    return task.kind in variant.kinds and (variant.tasks is None or task.name in variant.tasks)


def _drawn(*parts: object) -> bool:
    """Heads or tails, the same on every machine."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=1).digest()[0] % 2 == 0
