"""How often the diagnosis is right on recorded runs of any loop, whose truth somebody wrote down."""

import csv
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from kddoctor.engine.diagnosis import diagnose
from kddoctor.errors import RunError, UsageError
from kddoctor.rules.registry import all_rules
from kddoctor.run import load

#: Column that names the run's directory, beside the file or in "runs" there; that of its true code, empty for a sound
#: run; and those of the student's metric with the fault and without, as shares.
RUN, CODE = "run", "code"
STUDENT, HEALTHY = "student_metric", "healthy_metric"
#: What the code says of a fault that the catalogue does not have.
OUTSIDE = "OUTSIDE"
#: Points below the healthy student from which a fault has an effect, as in the benchmark.
EFFECT = 0.01


@dataclass(frozen=True)
class Labelled:
    """A recorded run and its truth. code: "" for a sound one. harm: points it lost, 0 to 1; None where not known."""

    path: Path
    code: str
    harm: float | None


@dataclass(frozen=True)
class Judged:
    """verdict: refused where the record could not be read. causes: most likely first, notes left out."""

    run: Labelled
    verdict: str
    causes: tuple[str, ...]
    reason: str = ""

    @property
    def right(self) -> bool:
        """A sound run that was read and not called sick, a fault that is the first cause, an outside one unnamed."""
        if not self.run.code:
            return self.verdict in ("healthy", "inconclusive")
        if self.run.code == OUTSIDE:
            return self.verdict == "inconclusive"
        return self.causes[:1] == (self.run.code,)


@dataclass(frozen=True)
class Share:
    """of what, how many of how many."""

    name: str
    hits: int
    all: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, 95 %."""
        found = binomtest(self.hits, self.all).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def read_truth(path: Path) -> list[Labelled]:
    """Runs and their truth. Raises UsageError that names the line, what it holds and what was expected."""
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    if not rows or RUN not in rows[0] or CODE not in rows[0]:
        held = ", ".join(rows[0]) if rows else "nothing"
        raise UsageError(f"{path}: holds {held}; expected a table with the columns {RUN} and {CODE}.")
    return [_labelled(path, line, row) for line, row in enumerate(rows, 2)]


def _labelled(path: Path, line: int, row: dict[str, str]) -> Labelled:
    code = (row[CODE] or "").strip()
    if code and code != OUTSIDE and code not in all_rules():
        raise UsageError(f"{path}, line {line}: {CODE} is {code!r}; expected a code, {OUTSIDE}, or nothing.")
    places = [path.parent / row[RUN], path.parent / "runs" / row[RUN]]
    place = next((place for place in places if place.is_dir()), None)
    if place is None:
        raise UsageError(f"{path}, line {line}: there is no directory {places[0]}, nor {places[1]}.")
    try:
        harm = float(row[HEALTHY]) - float(row[STUDENT]) if row.get(HEALTHY) and row.get(STUDENT) else None
    except ValueError:
        raise UsageError(f"{path}, line {line}: {STUDENT} or {HEALTHY} is no number.") from None
    return Labelled(place, code, harm)


def judge_labelled(
    runs: Sequence[Labelled], jobs: int, progress: Callable[[str, int, int], object]
) -> tuple[Judged, ...]:
    """Diagnose every run, as the command line would, in their order."""
    found, spawn = [], get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=threadpool_limits, initargs=(1,)) as pool:
        for done, judged in enumerate(pool.map(_judge, runs), 1):
            found.append(judged)
            progress("judging", done, len(runs))
    return tuple(found)


def _judge(run: Labelled) -> Judged:
    try:
        found = diagnose(load(run.path))
    except RunError as error:
        return Judged(run, "refused", (), str(error))
    return Judged(run, found.verdict, tuple(cause.code for cause in found.causes if cause.severity != "note"))


def shares(judged: Sequence[Judged]) -> tuple[Share, ...]:
    """What the benchmark's table says, of these runs; a share of nothing is left out."""
    sound = [one for one in judged if not one.run.code]
    outside = [one for one in judged if one.run.code == OUTSIDE]
    faults = [one for one in judged if one.run.code not in ("", OUTSIDE) and _has_effect(one.run)]

    def counted(name: str, part: Sequence[Judged], holds: Callable[[Judged], bool]) -> Share:
        return Share(name, sum(map(holds, part)), len(part))

    found = (
        counted("sound runs called sick", sound, lambda one: one.verdict == "sick"),
        counted("sound runs that could not be read", sound, lambda one: one.verdict == "refused"),
        counted("faults with an effect called sick", faults, lambda one: one.verdict == "sick"),
        counted("first cause is true", faults, lambda one: one.right),
        counted("true cause among the first three", faults, lambda one: one.run.code in one.causes[:3]),
        counted("named by another code first", faults, lambda one: one.verdict == "sick" and not one.right),
        counted("faults with an effect called healthy", faults, lambda one: one.verdict == "healthy"),
        counted("unknown faults left without a name", outside, lambda one: one.right),
    )
    return tuple(share for share in found if share.all)


def _has_effect(run: Labelled) -> bool:
    return run.harm is None or run.harm >= EFFECT
