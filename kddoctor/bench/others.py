"""Baselines and ablations on the identical unseen cases: trained, where they can be, on the seen ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kddoctor.bench.baselines import ablations, config_diff, majority, nearest, trainproof, trainspotter, trees
from kddoctor.bench.baselines.features import features_of
from kddoctor.bench.gate import Gate, Severity
from kddoctor.bench.judged import OUTSIDE, Example, Judgement
from kddoctor.bench.judging import Result
from kddoctor.bench.measuring import measure_case
from kddoctor.bench.recording import Cache
from kddoctor.bench.summary import SEEN, UNSEEN
from kddoctor.bench.tier import Tier
from kddoctor.run import load

BASELINES = {
    "majority": majority.fit,
    "difference of the configuration": config_diff.fit,
    "nearest neighbour on all measurements": nearest.fit,
    "boosted trees on all measurements": trees.fit,
    "trainproof on the log": trainproof.fit,
    "trainspotter on the log": trainspotter.fit,
}
ABLATIONS = {
    "ours: no probes": ablations.no_probes,
    "ours: no evidence against": ablations.no_negative_evidence,
    "ours: no explaining away": ablations.no_explaining_away,
}


def judge_others(results: Sequence[Result], gate: Gate, cache: Cache) -> dict[str, list[Result]]:
    """What every other judge says of the unseen cases."""
    full = [r for r in results if r.tier is Tier.FULL and _measured(r)]
    lessons = [_example(r, cache) for r in full if SEEN(r) and _teaches(r, gate)]
    exam = [r for r in full if UNSEEN(r)]
    questions = [_example(r, cache) for r in exam]
    said: dict[str, list[Result]] = {}
    for name, fit in BASELINES.items():
        judge = fit(lessons)
        said[name] = [_instead(r, judge(q)) for r, q in zip(exam, questions, strict=True)]
    for name, ablation in ABLATIONS.items():
        said[name] = [_instead(r, ablation(_measurements(r, cache))) for r in exam]
    return said


def _measured(result: Result) -> bool:
    return result.refused is None


def _teaches(result: Result, gate: Gate) -> bool:
    if result.case.sound:
        return result.case.key in gate.certified
    return result.case.group == "fault" and gate.severity[result.case.key] is not Severity.LATENT


def _measurements(result: Result, cache: Cache) -> Mapping[type, object]:
    measured = measure_case(result.case, Tier.FULL, cache).measured
    assert measured is not None
    return measured


def _example(result: Result, cache: Cache) -> Example:
    case, metrics = result.case, _metrics(result, cache)
    return Example(
        run=case.key,
        task=case.task,
        truth=case.truth or (() if case.sound else ("?",)),
        features=features_of(_measurements(result, cache), metrics),
        metrics=metrics,
        config=_config(result, cache),
        twin_config=_config(replace(result, case=case.twin), cache),
    )


def _metrics(result: Result, cache: Cache) -> tuple[Mapping[str, Any], ...]:
    path = cache.run(result.case) / "metrics.jsonl"
    return tuple(json.loads(line) for line in path.read_text("utf-8").splitlines()) if path.is_file() else ()


def _config(result: Result, cache: Cache) -> dict[str, Any]:
    manifest = load(cache.run(result.case)).manifest
    sections = {"distillation": manifest.distillation, "training": manifest.training}
    return {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.model_dump().items()
        if key != "seed"
    }


def _instead(result: Result, said: Judgement) -> Result:
    ranked = tuple(code for code in said.ranked if code not in OUTSIDE)
    # A run that is called sick of something unknown is left without a name, as ours is.
    unnamed = said.sick and said.ranked[:1] == OUTSIDE
    return replace(
        result,
        verdict="inconclusive" if unnamed else "sick" if said.sick else "healthy",
        causes=ranked[:1] if said.sick and not unnamed else (),
        ranked=ranked,
        confidence=said.confidence,
        unknown=False,
    )
