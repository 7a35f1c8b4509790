"""What stated confidence is fitted on."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from kddoctor.bench.confidence import confidence_text
from kddoctor.bench.gate import Gate, Severity
from kddoctor.bench.held_out import BATCH
from kddoctor.bench.judging import Result
from tests.bench.results import result


def fitted(results: list[Result], earlier: Mapping[str, object] | None = None) -> dict[str, dict[str, object]]:
    severity = {r.case.key: Severity.SEVERE for r in results}
    return json.loads(confidence_text(results, Gate(severity, frozenset(), {}), earlier))


def named(code: str, answer: str, seed: int, **changes: object) -> Result:
    values = {"unseen_implementation": True, "status": "suspected", **changes}
    return result(code, (answer,), seed=seed, **values)


def test_counts_are_by_status_and_by_the_code_that_was_named():
    right = [named("KD201", "KD201", seed) for seed in range(8)]
    wrong = [named("KD202", "KD201", seed) for seed in range(2)]
    proof = [named("KD203", "KD203", 1, status="confirmed")]
    found = fitted([*right, *wrong, *proof])
    assert found["suspected"]["codes"] == {"KD201": [10, 8]}
    assert found["suspected"]["rate"] == pytest.approx(8.5 / 11, abs=1e-3)
    assert found["confirmed"]["codes"] == {"KD203": [1, 1]}


def test_what_was_counted_on_earlier_batches_stays_and_this_one_is_counted_once():
    now = [named("KD201", "KD201", seed) for seed in range(3)]
    earlier = {"suspected": {"batches": {"before": {"KD201": [4, 2], "KD202": [1, 0]}, BATCH: {"KD201": [90, 90]}}}}
    found = fitted(now, earlier)
    assert found["suspected"]["codes"] == {"KD201": [7, 5], "KD202": [1, 0]}
    assert found["suspected"]["batches"] == {"before": {"KD201": [4, 2], "KD202": [1, 0]}, BATCH: {"KD201": [3, 3]}}
    assert found["suspected"]["rate"] == pytest.approx(5.5 / 9, abs=1e-3)
    assert fitted(now, found) == found


def test_what_rules_were_developed_on_and_what_figures_are_of_is_left_out():
    kept = named("KD201", "KD201", 1)
    developed = named("KD202", "KD202", 2, unseen_implementation=False)
    headline = named("KD203", "KD203", 3, task="clothes")
    assert fitted([kept, developed, headline])["suspected"]["codes"] == {"KD201": [1, 1]}


def test_codes_that_differ_count_more_for_themselves():
    alike = [
        named("KD201" if right else "KD299", code, seed)
        for code in ("KD201",)
        for seed, right in enumerate([True] * 10 + [False] * 10)
    ]
    differing = [named(code, code, seed) for code in ("KD201",) for seed in range(20)]
    differing += [named("KD299", "KD202", seed) for seed in range(20)]
    one, two = fitted(alike)["suspected"]["worth"], fitted(differing)["suspected"]["worth"]
    assert two < one


def test_what_was_counted_on_new_tasks_stays():
    seen_anew = {"new": [10, 5], "known": [10, 9]}
    earlier = {"suspected": {"batches": {"before": {"KD201": [4, 2]}}, "novelty": seen_anew}}
    found = fitted([named("KD201", "KD201", 1), named("KD203", "KD203", 1, status="confirmed")], earlier)
    assert found["suspected"]["novelty"] == seen_anew
    assert "novelty" not in found["confirmed"]


def test_a_status_that_only_this_batch_had_may_be_gone():
    earlier = {"probable": {"batches": {BATCH: {"KD201": [4, 2]}}, "novelty": {"new": [10, 5], "known": [10, 9]}}}
    assert set(fitted([named("KD201", "KD201", 1)], earlier)) == {"suspected"}
