"""Tables of the benchmark's summary: a question, its answer in a sentence, and the numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """caption: asks the question and answers it. rows: text, as many cells as there are heads."""

    title: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


NAMES: Mapping[str, str] = {
    "detection": "moderate and severe faults called sick",
    "detection_mild": "mild faults called sick",
    "top1": "first cause is true (mean over faults)",
    "top1_loss": "the same, loss family with steps",
    "top3": "true cause among the first three",
    "leads": "faults without an answer: among what to look at next",
    "worst": "worst single fault, top three",
    "false_alarms": "healthy runs called sick",
    "lookalike_alarms": "look-alikes called sick",
    "practice_alarms": "sound practices of other authors called sick",
    "unsure": "sound runs without an answer",
    "unknown": "unknown faults declared unknown",
    "pair_first": "pairs: first cause is true",
    "pair_both": "pairs: both among the first three",
    "ece": "calibration error",
    "precision_at_09": "right, where at least 0.9 sure",
    "top1_with_missing": "first cause, codes without a rule counted as misses",
    "top3_with_missing": "top three, codes without a rule counted as misses",
}
RATIOS = {"ece"}
#: Of sound runs, all and those that look ill or were thought of by others.
ALARMS = ("false_alarms", "lookalike_alarms", "practice_alarms")
#: What stands in brackets.
INTERVALS = "In brackets: 95 %; shares of faults resample fault, task and implementation, the others are Wilson's."


def left_out(summary: Json) -> str:
    """Which tasks the figures do not stand for, as a sentence; empty where all were run."""
    names = summary.get("tasks_left_out")
    return f" Not run this time: {', '.join(names)}." if names else ""


def all_tables(summary: Json) -> list[Table]:
    """Every table, in the order of the report: what matters, then failures, then details."""
    return [
        headline(summary),
        judges(summary),
        by_code(summary),
        confusions(summary, "unseen"),
        confusions(summary, "seen"),
        by_family(summary),
        by_severity(summary),
        by_likeness(summary),
        by_tier(summary),
        by_task(summary),
        calibration(summary),
        reported(summary),
        *([treatment(summary), treated_codes(summary)] if summary.get("treatment") else []),
        *([cures(summary)] if summary.get("cure") else []),
        tasks(summary),
    ]


#: Heads of tables by a part of the faults.
BY_SHARE = ("", "runs", "sick", "top 1", "top 3", "unseen runs", "sick", "top 1", "top 3")


def headline(summary: Json) -> Table:
    """The two by two of seen and unseen, against the targets."""
    met = sum(bool(t["met"]) for t in summary["targets"])
    quadrants = ("seen", "unseen_task_seen_implementation", "seen_task_unseen_implementation", "unseen")
    wanted = {t["name"]: t for t in summary["targets"]}
    rows = []
    for name, text in NAMES.items():
        target = wanted.get(name)
        cells = [_cell(name, summary[q][name]) for q in quadrants]
        interval = summary["intervals"]["unseen"].get(name)
        rows.append((text, *cells, _interval(interval), _wanted(target), _met(target)))
    rows.append(("runs judged", *(str(summary[q]["n"]) for q in quadrants), "", "", ""))
    return Table(
        "Is kddoctor right?",
        f"On tasks and implementations that no rule was developed with, {met} of {len(wanted)} targets are met.",
        ("", "seen", "unseen task", "unseen implementation", "both unseen", "95 %", "target", ""),
        tuple(rows),
    )


def judges(summary: Json) -> Table:
    """Ours, its ablations and the baselines on identical cases."""
    names = ("detection", "top1", "top3", *ALARMS, "unknown", "precision_at_09")
    rows = [("kddoctor", *(_cell(n, summary["unseen"][n]) for n in names))]
    rows += [(name, *(_cell(n, of[n]) for n in names)) for name, of in summary["judges"].items()]
    others = [of["top1"] or 0.0 for name, of in summary["judges"].items() if not name.startswith("ours:")]
    ours = summary["unseen"]["top1"] or 0.0
    better = "above every baseline" if ours > max(others, default=0.0) else "not above every baseline"
    return Table(
        "Is it better than simple means?",
        f"First causes are right in {ours:.0%} of the unseen faults, {better}. All were given the same records, and "
        "trained, where they can be, on the seen tasks and implementations.",
        ("", *(NAMES[n] for n in names)),
        tuple(rows),
    )


def by_code(summary: Json) -> Table:
    """Each fault that some rule can name, the worst first."""
    rows = []
    ruled = {code: row for code, row in summary["by_code"].items() if row["ruled"]}
    for code, row in sorted(ruled.items(), key=lambda item: (_or_one(item[1]["unseen"]["top1"]), item[0])):
        rows.append(
            (
                code,
                str(row["made"]),
                str(row["latent"]),
                *(_ranged(row["seen"], n) for n in ("detection", "top1", "top3")),
                *(_ranged(row["unseen"], n) for n in ("detection", "top1", "top3")),
                _mistakes(row["all"]["mistaken_for"]),
            )
        )
    first = rows[0][0] if rows else "none"
    return Table(
        "Which faults are missed?",
        f"Worst on unseen tasks and implementations is {first}. Latent: no measurable harm, counted apart. {INTERVALS}",
        ("code", "runs", "latent", "seen: sick", "top 1", "top 3", "unseen: sick", "top 1", "top 3", "mistaken for"),
        tuple(rows),
    )


def confusions(summary: Json, name: str) -> Table:
    """What was said instead of the truth."""
    wrong = [row for row in summary["confusion"][name] if row[0] != row[1]]
    wrong = [row for row in wrong if not (row[0] == "healthy" and row[1] in ("healthy", "inconclusive"))]
    wrong = [row for row in wrong if not (row[0] == "outside" and row[1] == "inconclusive")]
    wrong.sort(key=lambda row: (-row[2], row[0], row[1]))
    named = sum(row[2] for row in wrong if row[1].startswith("KD"))
    return Table(
        f"What is confused with what ({name})?",
        f"A wrong code was named {named} times; latent faults are among these rows.",
        ("truth", "answer", "runs"),
        tuple((row[0], row[1], str(row[2])) for row in wrong),
    )


def by_family(summary: Json) -> Table:
    """By the family of the true code."""
    return Table(
        "Does it depend on the kind of mistake?",
        f"Runs with a measured effect, by the family of their code. {INTERVALS}",
        BY_SHARE,
        _shares(summary["by_family"]),
    )


def by_severity(summary: Json) -> Table:
    """By the harm that was measured."""
    return Table(
        "Does it depend on the harm done?",
        f"Mild: one to three points below the healthy twin; moderate: to ten; severe: more. {INTERVALS}",
        BY_SHARE,
        _shares(summary["by_severity"]),
    )


def by_likeness(summary: Json) -> Table:
    """By what earlier implementations of the same code there are."""
    return Table(
        "Does it depend on whether the mistake is an old one?",
        "Held-out implementations alone, whose authors had seen no earlier ones. Same: another author's code for a "
        "mistake that rules were developed with; near: the same line or quantity, by another formula; new: neither. "
        f"{INTERVALS}",
        BY_SHARE,
        _shares(summary["by_likeness"]),
    )


def _shares(parts: Json) -> tuple[tuple[str, ...], ...]:
    """A row for each part of the faults: all implementations, then those that are unseen, on unseen tasks."""
    return tuple(
        (
            name,
            *(
                cell
                for which in ("all", "unseen")
                for cell in (
                    str(of[which]["n"]),
                    *(_ranged(of[which], n) for n in ("detection", "top1", "top3")),
                )
            ),
        )
        for name, of in parts.items()
    )


def by_tier(summary: Json) -> Table:
    """By what was recorded."""
    names = ("detection", "top1", "top3", "false_alarms", "lookalike_alarms", "unsure", "precision_at_09")
    rows = [(tier, *(_ranged(of, n) for n in names)) for tier, of in summary["by_tier"].items()]
    return Table(
        "What does a thin record cost?",
        f"The same cases, with parts of their records taken away. {INTERVALS}",
        ("recorded", *(NAMES[n] for n in names)),
        tuple(rows),
    )


def by_task(summary: Json) -> Table:
    """By task."""
    names = ("detection", "top1", "top3", *ALARMS, "unknown")
    rows = [
        (task, "seen" if summary["tasks"][task]["seen"] else "unseen", *(_ranged(of, n) for n in names))
        for task, of in summary["by_task"].items()
    ]
    return Table(
        "Does it depend on the task?",
        f"All implementations. {INTERVALS}",
        ("", "", *(NAMES[n] for n in names)),
        tuple(rows),
    )


def calibration(summary: Json) -> Table:
    """Stated confidence against the share that was right."""
    points = summary["reliability"]["unseen"]
    rows = [(f"{p['confidence']:.2f}", f"{p['right']:.2f}", str(int(p["n"]))) for p in points]
    error = summary["unseen"]["ece"]
    chance = summary["calibration_by_chance"]["unseen"]
    text = (
        "nothing was named"
        if error is None
        else f"the calibration error is {error:.3f}; one that is right exactly as often as it says would show "
        f"{chance['mean']:.3f} on so few, and more than {chance['at_most']:.3f} one time in twenty"
    )
    return Table(
        "Does its confidence mean anything?",
        f"On unseen tasks and implementations {text}; bins of equal mass.",
        ("stated", "right", "diagnoses"),
        tuple(rows),
    )


def reported(summary: Json) -> Table:
    """Bugs that were reported in public, rebuilt."""
    of = summary["reported"]
    right = sum(r["right"] for r in of)
    rows = [
        (r["name"], r["task"], "+".join(r["truth"]), "+".join(r["found"]) or r["verdict"], f"{100 * r['harm']:.1f}")
        for r in sorted(of, key=lambda r: (r["right"], r["name"], r["task"]))
    ]
    return Table(
        "Would it have found bugs that people reported?",
        f"The first cause is a true one in {right} of {len(of)} rebuilt cases, those without a rule included.",
        ("bug", "task", "true", "found", "points lost"),
        tuple(rows),
    )


#: What is asked of a treatment, in words: (name, text, at least, at most).
TREATMENT: tuple[tuple[str, str, float | None, float | None], ...] = (
    ("closed", "unseen tasks: 0.9 or more of the lost points came back", 0.9, None),
    ("closed_seen", "the same, seen tasks", None, None),
    ("closed_all", "the same, all tasks", None, None),
    ("closed_without_experiments", "the same, without experiments", None, None),
    ("closed_without_doubts", "unseen tasks, where nobody doubts a verdict of healthy", None, None),
    ("closed_right", "the same, where the first cause is true", None, None),
    ("closed_wrong", "the same, where it is another, or none", None, None),
    ("harmed", "treated students that are a point worse, or more", None, None),
    ("harmed_silently", "of all treated, worse and said to be helped", None, 0.0),
    ("declined_healthy", "healthy runs that are declined", 1.0, None),
    ("doubted_declined", "healthy runs put to experiments all the same: declined after these", None, None),
    ("doubted_harmed", "healthy runs put to experiments all the same: a point worse, or more", None, 0.0),
)


def treatment(summary: Json) -> Table:
    """What the project asks of its treatments."""
    of = summary["treatment"]
    rows = []
    for name, text, least, most in TREATMENT:
        if name not in of:
            continue
        figure = of[name]
        value = figure["value"]
        asked = least is not None or most is not None
        met = (least is None or (value or 0.0) >= least) and (most is None or (value or 0.0) <= most)
        target = {"at_least": least, "at_most": most, "met": None if value is None else met} if asked else None
        rows.append((text, _percent(value), _interval(figure), _wanted(target), _met(target)))
    return Table(
        "Does a treatment bring the lost points back?",
        f"In {_percent(of['closed']['value'])} of the severe faults with a treatable cause on unseen tasks, nine "
        f"tenths of them. Each run is treated as kddoctor treat does it, with experiments (--trials {of['trials']}) "
        "unless all that is prescribed mends what was shown in the one way that there is; a run that was called "
        "healthy, too, since whoever lost points doubts that. A fault that was missed or declined counts as not cured. "
        "Where teacher or student is another one than the healthy run's, the points are those up to the labels-only "
        "student." + _treated_earlier(summary),
        ("", "share", "95 %", "target", ""),
        tuple(rows),
    )


def _treated_earlier(summary: Json) -> str:
    """Of which day treatments are, where they were not made with the rest."""
    if not summary.get("treated_earlier"):
        return ""
    return f" Not made anew: as of {summary.get('treated_on', 'an earlier report')}, by the rules of that day."


def treated_codes(summary: Json) -> Table:
    """Treatments by the true cause, the worst first."""
    of = summary["treatment"]
    ranked = sorted(of["by_code"].items(), key=lambda item: (item[1]["closed"] / item[1]["n"], item[0]))
    rows = [
        (code, str(row["n"]), str(row["right"]), str(row["closed"]), _number(row["median"])) for code, row in ranked
    ]
    left = len(of["not_closed"])
    return Table(
        "Which causes are not cured?",
        f"{left} of {sum(row['n'] for row in of['by_code'].values())} runs are not.",
        ("code", "runs", "diagnosed", "0.9 or more came back", "median share"),
        tuple(rows),
    )


def cures(summary: Json) -> Table:
    """Share of the lost points that retraining by the prescription brought back, against controls of equal compute."""
    rows = [
        (
            name,
            str(of["n"]),
            _number(of["median"]),
            _percent(of["share_08"]),
            _percent(of.get("share_09")),
            _percent(of["harm"]),
        )
        for name, of in summary["cure"].items()
    ]
    ours = summary["cure"]["prescription"]
    return Table(
        "Does the prescription cure?",
        f"Median share of the lost points that came back: {_number(ours['median'])}, over {ours['n']} runs. The "
        "prescription is carried out by kddoctor's own loop; retrained unchanged is the user's loop with another seed, "
        "a random prescription the user's loop with another temperature, alpha, rate or length."
        + _treated_earlier(summary),
        ("retrained with", "runs", "median cure", "cure of 0.8 or more", "of 0.9 or more", "harmed"),
        tuple(rows),
    )


def tasks(summary: Json) -> Table:
    """What the tasks are like."""
    rows = [
        (
            name,
            of["kind"],
            "seen" if of["seen"] else "unseen",
            *(_percent(of[n], 1) for n in METRICS),
            f"{of['diagnosis']['seconds']:.1f} s, {of['diagnosis']['mebibytes']:.0f} MiB",
        )
        for name, of in summary["tasks"].items()
    ]
    return Table(
        "What was it tried on?",
        "Accuracy (ranking: area under the ROC curve) of teacher, healthy student and labels-only student; seconds and "
        "peak memory of a diagnosis in a process of its own.",
        ("task", "kind", "", "teacher", "student", "labels only", "one diagnosis"),
        tuple(rows),
    )


METRICS = ("teacher", "student", "labels_only")


# Cells ----------------------------------------------------------------------------------------------------


def _cell(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{_percent(value['top3'])} ({value['code']})" if value["code"] else "-"
    return _number(value) if name in RATIOS else _percent(value)


def _percent(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _interval(figure: Json | None) -> str:
    if figure is None or figure["low"] is None:
        return ""
    return f"{100 * figure['low']:.0f} to {100 * figure['high']:.0f} %, n {figure['n']}"


def _ranged(of: Json, name: str) -> str:
    """A share and, in brackets, its interval."""
    figure = of["intervals"][name]
    if figure["value"] is None:
        return "-"
    return f"{_percent(figure['value'])} ({100 * figure['low']:.0f}–{100 * figure['high']:.0f})"


def _wanted(target: Json | None) -> str:
    if target is None:
        return ""
    return f"≥ {target['at_least']:g}" if target["at_least"] is not None else f"≤ {target['at_most']:g}"


def _met(target: Json | None) -> str:
    return "" if target is None or target["met"] is None else "met" if target["met"] else "missed"


def _mistakes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "-"
