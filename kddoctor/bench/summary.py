"""Everything that the benchmark found, as plain values: the JSON that reports and README are made from."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from statistics import fmean, median
from typing import Any

from kddoctor.bench.fault import all_faults
from kddoctor.bench.figures import (
    LISTED,
    Figure,
    Figures,
    calibration_by_chance,
    clustered,
    confusion,
    diagnoses,
    figures,
    in_top,
    reliability,
)
from kddoctor.bench.gate import Gate, Severity
from kddoctor.bench.judging import Result
from kddoctor.bench.likeness import LIKENESS, Likeness
from kddoctor.bench.running import Broken, tiers
from kddoctor.bench.task import NAMES, TRIAL_TASKS, find_task
from kddoctor.bench.tier import Tier
from kddoctor.bench.unmade import UNMADE
from kddoctor.rules.registry import all_rules

Json = dict[str, Any]
Select = Callable[[Result], bool]

#: What the project asks of itself on unseen tasks and unseen implementations: (at least, at most).
TARGETS: Mapping[str, tuple[float | None, float | None]] = {
    "detection": (0.97, None),
    "detection_mild": (0.80, None),
    "top1": (0.90, None),
    "top1_loss": (0.98, None),
    "top3": (0.97, None),
    "worst": (0.75, None),
    "false_alarms": (None, 0.02),
    "lookalike_alarms": (None, 0.05),
    "practice_alarms": (None, 0.05),
    "unknown": (0.80, None),
    "pair_first": (0.90, None),
    "pair_both": (0.75, None),
    "ece": (None, 0.05),
    "precision_at_09": (0.95, None),
}


def selection(*, unseen_task: bool, unseen_implementation: bool) -> Select:
    """Runs of one quadrant. What is no fault has no implementation to be seen or not, and follows its task."""

    def chosen(r: Result) -> bool:
        same = r.case.group != "fault" or r.case.unseen_implementation is unseen_implementation
        return r.case.unseen_task is unseen_task and same

    return chosen


SEEN = selection(unseen_task=False, unseen_implementation=False)
UNSEEN = selection(unseen_task=True, unseen_implementation=True)


def summarise(
    results: Sequence[Result], gate: Gate, broken: Sequence[Broken], judges: Mapping[str, Sequence[Result]]
) -> Json:
    """judges: what baselines and ablations said of the unseen selection, each in place of ours."""
    full = [r for r in results if r.tier is Tier.FULL]
    seen, unseen = (figures(filter(chosen, results), gate) for chosen in (SEEN, UNSEEN))
    named = {name: diagnoses(filter(chosen, full), gate) for name, chosen in (("seen", SEEN), ("unseen", UNSEEN))}
    run = {r.case.task for r in full}
    names = [name for name in (*NAMES, *TRIAL_TASKS) if name in run]
    return {
        "format": 1,
        "seen": _plain(seen),
        "unseen": _plain(unseen),
        "seen_task_unseen_implementation": _plain(
            figures(filter(selection(unseen_task=False, unseen_implementation=True), results), gate)
        ),
        "unseen_task_seen_implementation": _plain(
            figures(filter(selection(unseen_task=True, unseen_implementation=False), results), gate)
        ),
        "all": _plain(figures(results, gate)),
        "targets": _targets(unseen),
        "intervals": {"seen": _intervals(seen), "unseen": _intervals(unseen)},
        "by_task": {
            name: _with_intervals(figures([r for r in results if r.case.task == name], gate)) for name in names
        },
        "by_tier": {
            tier.value: _with_intervals(figures([r for r in results if at_every_tier(r)], gate, tier)) for tier in Tier
        },
        "by_code": _by_code(full, gate),
        "by_family": _by_family(full, gate),
        "by_severity": _by_severity(full, gate),
        "by_likeness": _by_likeness(full, gate),
        "reported": [
            {
                "name": r.case.name,
                "task": r.case.task,
                "truth": list(r.case.truth),
                "found": list(r.causes),
                "verdict": r.verdict,
                "right": r.right,
                "harm": r.harm,
            }
            for r in full
            if r.case.group == "reported"
        ],
        "judges": {name: _plain(figures(of, gate)) for name, of in judges.items()},
        "confusion": {
            name: [[truth, said, n] for (truth, said), n in sorted(confusion(filter(chosen, full)).items())]
            for name, chosen in (("seen", SEEN), ("unseen", UNSEEN))
        },
        "reliability": {name: reliability(of) for name, of in named.items()},
        "calibration_by_chance": {name: calibration_by_chance(of) for name, of in named.items()},
        "latent": _latent(full, gate),
        "uncertified": sorted(
            f"{r.case.label}: {r.outcome.student:.3f}, twin {r.twin.student:.3f}, labels only {_number(r)}"
            for r in full
            if r.case.sound and r.case.key not in gate.certified
        ),
        "deviation": dict(gate.deviation),
        "counts": _counts_of(full, gate),
        "cost": {
            "training_seconds_median": median(r.outcome.seconds for r in full),
            "diagnosis_seconds_median": median(r.seconds for r in full),
            "diagnosis_seconds_max": max(r.seconds for r in full),
        },
        "tasks": {
            name: {
                "kind": find_task(name).kind,
                "seen": find_task(name).seen,
                **_metrics([r for r in full if r.case.task == name and r.case.group == "twin"]),
            }
            for name in names
        },
        "tasks_left_out": [name for name in NAMES if name not in run],
        "codes_without_rule": sorted(set(all_faults()) - set(all_rules())),
        "codes_without_fault": dict(UNMADE),
        "broken": [asdict(b) for b in broken],
    }


def at_every_tier(result: Result) -> bool:
    """Whether this case was judged at every tier, so that tiers compare the same cases."""
    return len(tiers(result.case)) > 1


def _number(result: Result) -> str:
    return "-" if result.outcome.baseline is None else f"{result.outcome.baseline:.3f}"


def _plain(found: Figures) -> Json:
    """Values only, under the names that others read."""
    return {field.name: _value(getattr(found, field.name)) for field in fields(found)}


def _value(figure: object) -> object:
    if isinstance(figure, Figure):
        return figure.value
    if isinstance(figure, tuple):
        return {"code": figure[0], "top3": figure[1]}
    return figure


def _intervals(found: Figures) -> Json:
    return {
        field.name: asdict(value)
        for field in fields(found)
        if is_dataclass(value := getattr(found, field.name)) and not isinstance(value, type)
    }


def _with_intervals(found: Figures) -> Json:
    return {**_plain(found), "intervals": _intervals(found)}


def _targets(found: Figures) -> list[Json]:
    rows = []
    for name, (least, most) in TARGETS.items():
        figure = getattr(found, name)
        value = figure[1] if isinstance(figure, tuple) else figure.value if isinstance(figure, Figure) else figure
        met = None if value is None else (least is None or value >= least) and (most is None or value <= most)
        rows.append({"name": name, "at_least": least, "at_most": most, "value": value, "met": met})
    return rows


def _by_code(full: Sequence[Result], gate: Gate) -> Json:
    rows = {}
    for code in sorted(all_faults()):
        of = [r for r in full if r.case.group == "fault" and r.case.truth[0] == code]
        rows[code] = {
            "ruled": code in all_rules(),
            "made": len(of),
            "latent": sum(gate.severity[r.case.key] is Severity.LATENT for r in of),
            **{
                name: _share([r for r in of if chosen(r) and gate.counts(r.case)])
                for name, chosen in (("seen", SEEN), ("unseen", UNSEEN), ("all", lambda _r: True))
            },
        }
    return rows


def _share(results: Sequence[Result]) -> Json:
    """Shares of some runs, with intervals under the same names."""
    found = {
        "detection": clustered(results, lambda r: r.sick),
        "top1": clustered(results, in_top(1)),
        "top3": clustered(results, in_top(LISTED)),
    }
    return {
        "n": len(results),
        **{name: figure.value for name, figure in found.items()},
        "intervals": {name: asdict(figure) for name, figure in found.items()},
        "mistaken_for": dict(
            Counter(r.first or r.verdict for r in results if not r.right).most_common(3),
        ),
    }


def _by_family(full: Sequence[Result], gate: Gate) -> Json:
    families: dict[str, list[Result]] = {}
    for r in full:
        rule = all_rules().get(r.case.truth[0]) if r.case.group == "fault" else None
        if rule is not None and gate.counts(r.case):
            families.setdefault(rule.family, []).append(r)
    return {
        family: {"all": _share(of), "unseen": _share([r for r in of if UNSEEN(r)])}
        for family, of in sorted(families.items())
    }


def _by_severity(full: Sequence[Result], gate: Gate) -> Json:
    rows = {}
    for severity in Severity:
        of = [
            r
            for r in full
            if r.case.group == "fault" and r.case.truth[0] in all_rules() and gate.severity[r.case.key] is severity
        ]
        rows[severity.value] = {
            "all": _share(of),
            "unseen": _share([r for r in of if UNSEEN(r)]),
        }
    return rows


def _by_likeness(full: Sequence[Result], gate: Gate) -> Json:
    """Of the implementations that are held out, by what there was before them."""
    rows = {}
    for likeness in Likeness:
        of = [
            r for r in full if r.case.group == "fault" and LIKENESS.get(r.case.name) is likeness and gate.counts(r.case)
        ]
        rows[likeness.value] = {"all": _share(of), "unseen": _share([r for r in of if UNSEEN(r)])}
    return rows


def _latent(full: Sequence[Result], gate: Gate) -> Json:
    """Mistakes without measurable harm: how many there were, and what was said of them."""
    of = [r for r in full if r.case.group == "fault" and gate.severity[r.case.key] is Severity.LATENT]
    return {
        "n": len(of),
        "named_right": sum(r.right for r in of),
        "called_otherwise": sum(r.sick and not r.right for r in of),
        "silent": sum(not r.sick for r in of),
        "by_code": dict(sorted(Counter(r.case.truth[0] for r in of).items())),
    }


def _counts_of(full: Sequence[Result], gate: Gate) -> Json:
    groups = Counter(r.case.group for r in full)
    return {
        "groups": dict(sorted(groups.items())),
        "sound_certified": sum(r.case.key in gate.certified for r in full if r.case.sound),
        "lookalikes_certified": sum(r.case.key in gate.certified for r in full if r.case.group == "lookalike"),
        "faults_with_effect": sum(r.case.group == "fault" and gate.counts(r.case) for r in full),
        "outside_with_effect": sum(r.case.group == "outside" and gate.counts(r.case) for r in full),
        "pairs_with_effect": sum(r.case.group == "pair" and gate.counts(r.case) for r in full),
    }


def _metrics(twins: Sequence[Result]) -> Json:
    with_baseline = [r.outcome.baseline for r in twins if r.outcome.baseline is not None]
    return {
        "teacher": fmean(r.outcome.teacher for r in twins),
        "student": fmean(r.outcome.student for r in twins),
        "labels_only": fmean(with_baseline),
        "seeds": len({r.case.seed for r in twins}),
    }
