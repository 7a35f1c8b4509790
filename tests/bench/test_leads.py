"""What leads are fitted on: runs in sight, once each, and nothing that is held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kddoctor.bench import leads as fitting
from kddoctor.bench.gate import Gate, Severity
from kddoctor.bench.judging import Result
from kddoctor.bench.measuring import Measurement
from kddoctor.bench.recording import Cache
from kddoctor.engine.leads import HEALTHY, OUTSIDE
from tests.bench.results import result, sound
from tests.engine.test_leads import found, hypothesis


def told(
    results: list[Result], monkeypatch: pytest.MonkeyPatch, *, harmless: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """What is written of these runs, whose evidence is of the code that is true of them, or of KD205."""
    monkeypatch.setattr(fitting, "measure_case", lambda case, *_: Measurement({"case": case}, None, 0.0))  # type: ignore[dict-item]
    monkeypatch.setattr(
        fitting, "differential", lambda measured: found([hypothesis((*measured["case"].truth, "KD205")[0], 5.0)])
    )
    severity = {
        r.case.key: Severity.LATENT if r.case.name in harmless else Severity.SEVERE for r in results if not r.case.sound
    }
    gate = Gate(severity, frozenset(r.case.key for r in results if r.case.sound), {})
    return json.loads(fitting.leads_text(results, gate, Cache(Path("unused"))))


def some(code: str, **changes: Any) -> list[Result]:
    """Runs of a recipe of their own each: a case is known by its recipe and seed."""
    first = int(code.removeprefix("KD"))
    return [result(code, seed=seed, **changes) for seed in (first, first + 1000, first + 2000)]


def test_evidence_of_a_code_speaks_for_it_and_against_the_others(monkeypatch):
    of = told([*some("KD201"), *some("KD202"), *some("KD204")], monkeypatch)
    assert of["classes"] == ["KD201", "KD202", "KD204"]
    assert of["weights"]["KD201 p m"]["KD201"] > 0 > of["weights"]["KD201 p m"]["KD202"]


def test_sound_runs_and_faults_that_no_code_names_are_classes_of_their_own(monkeypatch):
    strange = some("KD201", group="outside", truth=())
    of = told([*some("KD202"), *strange, *[sound(seed) for seed in range(3)]], monkeypatch)
    assert of["classes"] == ["KD202", HEALTHY, OUTSIDE]


@pytest.mark.parametrize(
    "left_out",
    [
        {"unseen_implementation": True},
        {"task": "clothes"},
        {"truth": ("KD203", "KD205"), "group": "pair"},
        {"name": "harmless"},
    ],
    ids=["held out", "unseen task", "pair", "harmless"],
)
def test_what_is_held_out_or_ambiguous_or_harmless_is_not_fitted(monkeypatch, left_out):
    kept = [*some("KD201"), *some("KD202"), *some("KD204")]
    of = told([*kept, *some("KD203", **left_out)], monkeypatch, harmless=frozenset({"harmless"}))
    assert of["classes"] == ["KD201", "KD202", "KD204"]


def test_the_same_runs_give_the_same_bytes(monkeypatch):
    runs = [*some("KD201"), *some("KD202"), *some("KD203")]
    assert told(runs, monkeypatch) == told(runs, monkeypatch)
