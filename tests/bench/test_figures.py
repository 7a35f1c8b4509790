"""The figures, on results small enough to count by hand."""

from __future__ import annotations

import pytest

from kddoctor.bench.fault import all_faults
from kddoctor.bench.figures import calibration_by_chance, calibration_error, figures
from kddoctor.bench.gate import decide
from kddoctor.rules.registry import all_rules
from tests.bench.results import result, sound

QUIET = [sound(seed, 0.9 + 0.001 * (seed % 2)) for seed in range(6)]


def test_each_code_counts_alike_however_often_it_was_made() -> None:
    found = [result("KD201", ("KD201",), seed=seed) for seed in range(9)] + [result("KD202", ("KD201",), seed=9)]
    of = figures([*QUIET, *found], decide([*QUIET, *found]))
    assert of.top1.value == pytest.approx(0.5)
    assert of.detection.value == 1.0
    assert of.worst == ("KD202", 0.0)


def test_every_code_without_a_rule_is_a_miss_in_the_second_figure_only(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"KD201": all_rules()["KD201"]}
    monkeypatch.setattr("kddoctor.bench.figures.all_rules", lambda: one)
    found = [result("KD201", ("KD201",)), result("KD206", seed=2)]
    of = figures([*QUIET, *found], decide([*QUIET, *found]))
    missing = set(all_faults()) - {"KD201"}
    assert of.top1.value == 1.0
    assert of.top1_with_missing.value == pytest.approx(1 / (1 + len(missing)))


def test_a_latent_fault_counts_nowhere() -> None:
    found = [result("KD201", ("KD201",)), result("KD202", student=0.9, seed=2)]
    assert figures([*QUIET, *found], decide([*QUIET, *found])).top1.n == 1


def test_a_healthy_run_called_sick_is_a_false_alarm() -> None:
    alarm = sound(6, 0.9, causes=("KD502",), verdict="sick")
    of = figures([*QUIET, alarm], decide([*QUIET, alarm]))
    assert of.false_alarms.value == pytest.approx(1 / 7)
    assert of.precision_at_09.value == 0.0


def test_an_unknown_fault_has_to_be_left_unnamed_and_not_called_healthy() -> None:
    outside = [
        result("?", group="outside", truth=(), verdict=verdict, causes=causes, seed=seed)
        for seed, (verdict, causes) in enumerate([("inconclusive", ()), ("healthy", ()), ("sick", ("KD502",))])
    ]
    assert figures([*QUIET, *outside], decide([*QUIET, *outside])).unknown.value == pytest.approx(1 / 3)


def test_both_of_a_pair_have_to_be_among_the_first_three() -> None:
    def pair(seed: int, ranked: tuple[str, ...]) -> object:
        return result("KD103", ranked[:1], group="pair", truth=("KD103", "KD201"), ranked=ranked, seed=seed)

    pairs = [pair(1, ("KD201", "KD103")), pair(2, ("KD201", "KD502", "KD202", "KD103"))]
    of = figures([*QUIET, *pairs], decide([*QUIET, *pairs]))  # type: ignore[list-item]
    assert of.pair_first.value == 1.0
    assert of.pair_both.value == 0.5


def test_calibration_error_of_a_boaster() -> None:
    boasts = [result("KD201", ("KD202",), confidence=0.9, seed=seed) for seed in range(10)]
    assert calibration_error(boasts) == pytest.approx(0.9)


def test_calibration_error_that_few_diagnoses_have_by_chance() -> None:
    one_a_bin = [result("KD201", ("KD201",), confidence=0.9, seed=seed) for seed in range(10)]
    chance = calibration_by_chance(one_a_bin)
    assert chance is not None
    # A bin of one that says 0.9 is off by 0.1 nine times in ten, and by 0.9 once.
    assert chance["mean"] == pytest.approx(0.9 * 0.1 + 0.1 * 0.9, abs=0.005)
    # Of ten such bins as many as three are wrong, but seldom four.
    assert chance["at_most"] == pytest.approx((7 * 0.1 + 3 * 0.9) / 10)
    many = [result("KD201", ("KD201",), confidence=0.9, seed=seed) for seed in range(1000)]
    assert (calibration_by_chance(many) or {})["mean"] == pytest.approx(0.03 * (2 / 3.14159) ** 0.5, rel=0.05)
    assert calibration_by_chance([]) is None
