"""The figures of the benchmark, from results and the impact gate. Definitions are those of the report's glossary."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap

from kddoctor.bench.fault import all_faults
from kddoctor.bench.gate import Gate, Severity
from kddoctor.bench.judging import Result
from kddoctor.bench.tier import Tier
from kddoctor.rules.registry import all_rules

RESAMPLES = 1000
#: Draws of the calibration error by chance.
DRAWS = 10_000
#: Bins of equal mass of the reliability diagram.
BINS = 10
#: Confidence from which a diagnosis counts as sure.
SURE = 0.9
#: Codes that anybody reads.
LISTED = 3


@dataclass(frozen=True)
class Figure:
    """A share with its 95 % interval. value: None where nothing was counted."""

    value: float | None
    low: float | None
    high: float | None
    n: int


NOTHING = Figure(None, None, None, 0)


@dataclass(frozen=True)
class Figures:
    """Of one selection of results. top1, top3 and worst are macro averages over faults that some rule can name;
    with_missing counts the catalogue's other codes, as misses. worst: the code with the lowest top-3. leads: of faults
    in runs that were neither called sick nor healthy, those that are among the first codes to look at.
    """

    detection: Figure
    detection_mild: Figure
    top1: Figure
    top3: Figure
    leads: Figure
    top1_loss: Figure
    top1_with_missing: Figure
    top3_with_missing: Figure
    worst: tuple[str | None, float | None]
    false_alarms: Figure
    lookalike_alarms: Figure
    practice_alarms: Figure
    unsure: Figure
    pair_first: Figure
    pair_both: Figure
    unknown: Figure
    ece: float | None
    precision_at_09: Figure
    n: int


def figures(results: Iterable[Result], gate: Gate, tier: Tier = Tier.FULL) -> Figures:
    """All figures of a selection, at one tier."""
    chosen = [r for r in results if r.tier is tier]
    faults = [r for r in chosen if r.case.group == "fault" and gate.severity[r.case.key] is not Severity.LATENT]
    ruled = [r for r in faults if r.case.truth[0] in all_rules()]
    harsh = [r for r in ruled if gate.severity[r.case.key] in (Severity.MODERATE, Severity.SEVERE)]
    mild = [r for r in ruled if gate.severity[r.case.key] is Severity.MILD]
    sound = [r for r in chosen if r.case.sound and r.case.key in gate.certified]
    pairs = [r for r in chosen if r.case.group == "pair" and gate.severity[r.case.key] is not Severity.LATENT]
    outside = [r for r in chosen if r.case.group == "outside" and gate.severity[r.case.key] is not Severity.LATENT]
    loss = [r for r in ruled if all_rules()[r.case.truth[0]].family == "loss"]
    plain = [r for r in sound if r.case.group != "lookalike"]
    named = diagnoses(chosen, gate)
    return Figures(
        detection=clustered(harsh, lambda r: r.sick),
        detection_mild=clustered(mild, lambda r: r.sick),
        top1=macro(ruled, in_top(1)),
        top3=macro(ruled, in_top(LISTED)),
        leads=counted([shown(r, LISTED) for r in ruled if r.verdict == "inconclusive"]),
        top1_loss=macro(loss, in_top(1)),
        top1_with_missing=_with_missing(macro(ruled, in_top(1)), ruled),
        top3_with_missing=_with_missing(macro(ruled, in_top(LISTED)), ruled),
        worst=_worst(ruled),
        false_alarms=counted([r.sick for r in plain]),
        lookalike_alarms=counted([r.sick for r in sound if r.case.group == "lookalike"]),
        practice_alarms=counted([r.sick for r in sound if r.case.group == "practice"]),
        unsure=counted([r.verdict == "inconclusive" for r in sound]),
        pair_first=counted([r.right for r in pairs]),
        pair_both=counted([set(r.case.truth) <= set(r.ranked[:LISTED]) for r in pairs]),
        unknown=counted([not r.sick and r.verdict != "healthy" for r in outside]),
        ece=calibration_error(named),
        precision_at_09=counted([r.right for r in named if r.confidence >= SURE]),
        n=len(chosen),
    )


def diagnoses(results: Iterable[Result], gate: Gate) -> list[Result]:
    """What confidence is judged by: runs that count and in which a cause was named, but rebuilt bugs of others."""
    return [r for r in results if r.first is not None and r.case.group != "reported" and gate.counts(r.case)]


def in_top(most: int) -> Callable[[Result], bool]:
    """Whether a true code is among the first so many, in a run that was called sick."""
    return lambda r: r.sick and shown(r, most)


def shown(result: Result, most: int) -> bool:
    """Whether a true code is among the first so many that are shown."""
    return any(code in result.case.truth for code in result.ranked[:most])


# Shares and their intervals -------------------------------------------------------------------------------


def counted(hits: Sequence[bool]) -> Figure:
    """A plain share, with Wilson's interval."""
    if not hits:
        return NOTHING
    found = binomtest(sum(hits), len(hits))
    interval = found.proportion_ci(method="wilson")
    return Figure(sum(hits) / len(hits), float(interval.low), float(interval.high), len(hits))


def clustered(results: Sequence[Result], hit: Callable[[Result], bool]) -> Figure:
    """A share over runs; the interval resamples cells of fault, task and implementation, whose runs are alike."""
    cells = _cells(results, hit)
    hits = np.array([sum(cell) for cell in cells.values()], float)
    sizes = np.array([len(cell) for cell in cells.values()], float)
    return _resampled((hits, sizes), lambda h, s, axis=-1: h.sum(axis) / s.sum(axis), len(results), vectorized=True)


def macro(results: Sequence[Result], hit: Callable[[Result], bool]) -> Figure:
    """The mean over codes of the share of hits, each code counting alike; the interval resamples cells."""
    cells = _cells(results, hit)
    codes = np.array([str(key[0]) for key in cells])
    names, numbers = np.unique(codes, return_inverse=True) if len(codes) else (codes, np.zeros(0, int))
    hits = np.array([sum(cell) for cell in cells.values()], float)
    sizes = np.array([len(cell) for cell in cells.values()], float)

    def mean_over_codes(h: np.ndarray, s: np.ndarray, number: np.ndarray) -> float:
        of = number.astype(int)
        right, count = np.bincount(of, h, len(names)), np.bincount(of, s, len(names))
        return float((right[count > 0] / count[count > 0]).mean())

    return _resampled((hits, sizes, numbers.astype(float)), mean_over_codes, len(results))


def _with_missing(figure: Figure, ruled: Sequence[Result]) -> Figure:
    """The macro average with a zero for every code that has a fault and no rule: whatever was run, none is named."""
    codes = len({r.case.truth[0] for r in ruled})
    share = codes / (codes + len(set(all_faults()) - set(all_rules()))) if codes else 0.0

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * share

    return Figure(scaled(figure.value), scaled(figure.low), scaled(figure.high), figure.n)


def _cells(results: Sequence[Result], hit: Callable[[Result], bool]) -> dict[tuple[str, str, str], list[bool]]:
    cells: dict[tuple[str, str, str], list[bool]] = {}
    for r in results:
        cells.setdefault((r.case.truth[0], r.case.task, r.case.name), []).append(hit(r))
    return cells


def _resampled(
    data: tuple[np.ndarray, ...], statistic: Callable[..., Any], n: int, *, vectorized: bool = False
) -> Figure:
    if not n:
        return NOTHING
    value = float(statistic(*data))
    if len(data[0]) < 2 or np.ptp(data[0] / data[1]) == 0:
        # All cells agree: resampling would show no spread at all, so that the counts have to speak.
        interval = binomtest(round(value * n), n).proportion_ci(method="wilson")
        return Figure(value, float(interval.low), float(interval.high), n)
    found = bootstrap(
        data,
        statistic,
        paired=True,
        vectorized=vectorized,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Figure(value, float(found.low), float(found.high), n)


def _worst(results: Sequence[Result]) -> tuple[str | None, float | None]:
    shares = {
        code: np.mean([in_top(LISTED)(r) for r in results if r.case.truth[0] == code]).item()
        for code in sorted({r.case.truth[0] for r in results})
    }
    code = min(shares, key=lambda c: (shares[c], c), default=None)
    return code, None if code is None else shares[code]


# Confidence -----------------------------------------------------------------------------------------------


def calibration_error(named: Sequence[Result]) -> float | None:
    """Expected calibration error over bins of equal mass: |confidence - share right|, weighted by size."""
    if not named:
        return None
    bins = reliability(named)
    return sum(b["n"] * abs(b["confidence"] - b["right"]) for b in bins) / len(named)


def reliability(named: Sequence[Result]) -> list[dict[str, float]]:
    """Points of the reliability diagram: mean confidence, share right and size of each bin."""
    return [
        {
            "confidence": float(np.mean([r.confidence for r in part])),
            "right": float(np.mean([r.right for r in part])),
            "n": len(part),
        }
        for part in _bins(named)
    ]


def calibration_by_chance(named: Sequence[Result]) -> dict[str, float] | None:
    """Calibration errors of a tool that is right exactly as often as it says, with the confidences of these.

    Bins of a dozen are off by chance alone, whatever was stated: mean over draws, and what 95 % of them stay below.
    """
    if not named:
        return None
    rng, errors = np.random.default_rng(0), np.zeros(DRAWS)
    for part in _bins(named):
        stated = np.array([r.confidence for r in part])
        right = (rng.random((DRAWS, len(part))) < stated).mean(axis=1)
        errors += len(part) / len(named) * np.abs(right - stated.mean())
    return {"mean": round(float(errors.mean()), 3), "at_most": round(float(np.quantile(errors, 0.95)), 3)}


def _bins(named: Sequence[Result]) -> list[list[Result]]:
    """Of equal mass, by confidence."""
    ordered = sorted(named, key=lambda r: (r.confidence, r.case.key))
    parts = np.array_split(np.arange(len(ordered)), min(BINS, len(ordered))) if ordered else []
    return [[ordered[i] for i in part] for part in parts]


def confusion(results: Iterable[Result]) -> Mapping[tuple[str, str], int]:
    """How often each truth (healthy, outside or a code) was answered by each first answer."""
    return Counter((_truth(r), r.first or r.verdict) for r in results)


def _truth(result: Result) -> str:
    if result.right:
        return str(result.first)
    return result.case.truth[0] if result.case.truth else "healthy" if result.case.sound else "outside"
