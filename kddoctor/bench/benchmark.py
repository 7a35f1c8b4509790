"""The whole benchmark, and its quick slice against a snapshot of verdicts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from kddoctor.bench.cost import cost_of
from kddoctor.bench.cure import curable, declines, summarise_cures, summarise_treatment
from kddoctor.bench.doubting import doubted, summarise_doubts
from kddoctor.bench.gate import Gate, decide
from kddoctor.bench.judging import Result
from kddoctor.bench.others import judge_others
from kddoctor.bench.plan import cases_of, quick_cases
from kddoctor.bench.recording import Cache
from kddoctor.bench.report.html import render_html
from kddoctor.bench.report.markdown import render_markdown
from kddoctor.bench.report.matrix import evidence_matrix
from kddoctor.bench.running import Bench, Progress, run_bench, run_cures, run_doubts
from kddoctor.bench.summary import summarise
from kddoctor.bench.task import NAMES
from kddoctor.bench.tier import Tier

SNAPSHOT, SUMMARY = "snapshot.json", "benchmark.json"
#: Between verdicts of one run that are all accepted.
OR = " or "
COMMAND = "kddoctor bench"
#: What a summary says of treatments.
TREATED = ("cure", "treatment", "treated_on")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """What ``kddoctor bench`` found. results: of every case and tier."""

    summary: Json
    results: tuple[Result, ...]
    gate: Gate


def benchmark(
    cache: Path, *, jobs: int, progress: Progress, cures: bool = True, tasks: Sequence[str] = NAMES
) -> Report:
    """Run, judge and add up everything; an hour or two the first time, minutes after a change of rules.

    cures: also retrain by the prescriptions. tasks: only these, of which the report says so.
    """
    place = Cache(cache)
    bench = run_bench(cases_of(tasks), place, jobs=jobs, progress=progress)
    gate = decide(bench.results)
    others = judge_others(bench.results, gate, place)
    summary = summarise(bench.results, gate, bench.broken, others)
    for name, details in summary["tasks"].items():
        plain = next(r.case for r in bench.results if r.case.task == name and r.case.group == "twin")
        details["diagnosis"] = asdict(cost_of(place.run(plain)))
    if cures:
        found = run_cures(curable(bench.results, gate), place, jobs=jobs, progress=progress)
        sound = [r.case for r in bench.results if r.tier is Tier.FULL and r.case.key in gate.certified]
        summary["cure"] = summarise_cures(found)
        doubts = run_doubts(doubted(sound), place, jobs=jobs, progress=progress)
        summary["treatment"] = {
            **summarise_treatment(found, [declines(case, place) for case in sound]),
            **summarise_doubts(doubts),
        }
        summary["treated_on"] = date.today().isoformat()
    return Report(summary, bench.results, gate)


def with_treatments_of(report: Report, earlier: Json) -> Report:
    """The same with what an earlier report of the same tasks says of treatments, and of the day of these."""
    same = list(earlier.get("tasks", ())) == list(report.summary.get("tasks", ()))
    kept = {name: earlier[name] for name in TREATED if same and name in earlier}
    return replace(report, summary={**report.summary, **kept, "treated_earlier": True}) if kept else report


def write_report(report: Report, directory: Path, write: Callable[[Path, str], object]) -> list[Path]:
    """benchmark.json, .md, .html and the evidence matrix, below a directory. Returns what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        SUMMARY: json.dumps(_rounded(report.summary), indent=1) + "\n",
        "benchmark.md": render_markdown(report.summary, COMMAND),
        "benchmark.html": render_html(report.summary, COMMAND),
        "benchmark-evidence.csv": evidence_matrix(report.results, report.gate),
    }
    for name, text in texts.items():
        write(directory / name, text)
    return [directory / name for name in texts]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


# The quick slice -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A case whose verdict is not the one that was committed. None: the case is not there."""

    label: str
    committed: str | None
    found: str | None


def quick(cache: Path, *, jobs: int, progress: Progress) -> dict[str, str]:
    """Verdict and causes of every case of the slice, by its label."""
    bench: Bench = run_bench(quick_cases(), Cache(cache), jobs=jobs, progress=progress, thin=False)
    said = {f"{r.case.label}, {r.tier.value}": " ".join((r.verdict, *r.causes)) for r in bench.results}
    said |= {b.label: f"broken: {b.error}" for b in bench.broken}
    return dict(sorted(said.items()))


def differences(found: Mapping[str, str]) -> list[Difference]:
    """Against the committed snapshot: a new verdict and a lost one count alike."""
    committed = read_snapshot()
    labels = sorted(set(found) | set(committed))
    return [
        Difference(label, committed.get(label), found.get(label))
        for label in labels
        if found.get(label) not in _accepted(committed.get(label))
    ]


def _accepted(committed: str | None) -> tuple[str | None, ...]:
    """More than one where a run ends near chance and the rounding of another processor ends it elsewhere."""
    return (None,) if committed is None else tuple(committed.split(OR))


def read_snapshot() -> dict[str, str]:
    """The committed verdicts."""
    text = resources.files("kddoctor.bench").joinpath(SNAPSHOT).read_text("utf-8")
    snapshot: dict[str, str] = json.loads(text)
    return snapshot


def snapshot_text(found: Mapping[str, str]) -> str:
    """What is committed. A verdict that was already accepted stays beside its alternatives."""
    committed = read_snapshot()
    kept = {
        label: committed[label] if said in _accepted(committed.get(label)) else said for label, said in found.items()
    }
    return json.dumps(kept, indent=1) + "\n"
