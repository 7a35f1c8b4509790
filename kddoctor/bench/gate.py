"""The impact gate: which faults did harm, how much, and which sound runs really are sound. Decided by outcome alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev

from kddoctor.bench.case import Case
from kddoctor.bench.judging import Result
from kddoctor.bench.tier import Tier

#: Smallest harm that counts, in points of the metric, and its distance from what seeds do by themselves.
ONE_POINT, DEVIATIONS = 0.01, 3.0
#: From this harm on a fault is moderate, from that on severe.
MODERATE, SEVERE = 0.03, 0.10
#: Standard deviations of healthy runs by which a sound variant may stay behind without being called harmful.
SOUND_DEVIATIONS = 2.0


class Severity(StrEnum):
    """By measured effect. latent: a mistake was made, and nothing came of it."""

    LATENT = "latent"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"


@dataclass(frozen=True)
class Gate:
    """severity: by key of each faulty case. certified: keys of sound cases whose outcome is that of a sound run.

    deviation: by task, of the metric of the plain sound run over seeds.
    """

    severity: Mapping[str, Severity]
    certified: frozenset[str]
    deviation: Mapping[str, float]

    def counts(self, case: Case) -> bool:
        """Whether a case belongs in the figures: a sound one that is certified, or a fault that did harm."""
        return case.key in self.certified if case.sound else self.severity[case.key] is not Severity.LATENT


def decide(results: Iterable[Result]) -> Gate:
    """Judge every case by what came of it, over all cases of the same mistake at the same setting of its knob."""
    full = [r for r in results if r.tier is Tier.FULL]
    deviation = _deviations(full)
    cells: dict[tuple[object, ...], list[Result]] = {}
    for result in full:
        if not result.case.sound:
            case = result.case
            cells.setdefault((case.group, case.task, case.truth, case.name, case.level), []).append(result)
    severity: dict[str, Severity] = {}
    for (_, task, *_rest), members in cells.items():
        harm = fmean(r.harm for r in members)
        # Both runs of a pair vary with the seed.
        noise = deviation[str(task)] * (2 / len(members)) ** 0.5
        for result in members:
            severity[result.case.key] = _severity(harm, noise)
    certified = frozenset(r.case.key for r in full if r.case.sound and _is_sound(r, deviation[r.case.task]))
    return Gate(severity, certified, deviation)


def _deviations(results: Iterable[Result]) -> dict[str, float]:
    by_task: dict[str, dict[int, float]] = {}
    for result in results:
        by_task.setdefault(result.case.task, {})[result.case.seed] = result.twin.student
    return {task: stdev(seeds.values()) if len(seeds) > 1 else ONE_POINT for task, seeds in by_task.items()}


def _severity(harm: float, noise: float) -> Severity:
    if harm < max(ONE_POINT, DEVIATIONS * noise):
        return Severity.LATENT
    return Severity.MILD if harm < MODERATE else Severity.MODERATE if harm < SEVERE else Severity.SEVERE


def _is_sound(result: Result, deviation: float) -> bool:
    """A sound run is no worse than its labels-only twin; a plain one no worse than the plain sound run either.

    Look-alikes may be worse than that: a small student, or little data, is no fault.
    """
    slack = max(ONE_POINT, SOUND_DEVIATIONS * deviation)
    baseline = result.outcome.baseline
    near_twin = result.case.group == "lookalike" or result.harm <= slack
    return near_twin and (baseline is None or result.outcome.student >= baseline - slack / 2)
