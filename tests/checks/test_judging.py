"""Which checks fail: causes. What they explain, what is open and what was not recorded is skipped, and says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kddoctor.checks import examining
from kddoctor.checks.results import Outcome, counts
from kddoctor.checks.running import check_run
from kddoctor.engine import diagnose
from kddoctor.policy import Policy
from kddoctor.rules.registry import all_rules
from kddoctor.run import load

JUDGED = {Outcome.PASSED, Outcome.FAILED}


def failed(results) -> list[str]:
    return [code for code, result in results.items() if result.outcome is Outcome.FAILED]


def test_every_cause_fails_and_nothing_else_does(checked, runs):
    causes = diagnose(load(runs["sick"])).cause_codes
    assert failed(checked("sick")) == sorted(causes) == ["KD201", "KD202"]


def test_nothing_of_a_healthy_run_fails(checked):
    assert failed(checked("healthy")) == []


def test_a_failure_says_what_was_measured_and_wanted_and_where(checked):
    result = checked("sick")["KD202"]
    assert result.headline.startswith("measured relative_error ")
    assert "recorded = KL(teacher ‖ student) at T = 4" in result.headline
    assert result.advice[0].startswith("wanted: ")
    assert result.advice[1:] == ("at kd_run.yaml: distillation.temperature_squared", "kddoctor explain KD202")


def test_one_fault_fails_one_check_and_what_it_explains_is_skipped(checked):
    results = checked("masking")
    assert failed(results) == ["KD106"]
    assert (results["KD502"].outcome, results["KD502"].reason) == (Outcome.SKIPPED, "explained by KD106, see there")


def test_a_check_that_was_ruled_out_passes_with_the_number_that_did_so(checked):
    result = checked("healthy")["KD202"]
    assert result.outcome is Outcome.PASSED
    assert result.measure == "declared_form_error"
    assert result.value < result.threshold


def test_what_was_not_recorded_is_skipped_and_says_what_to_record(checked):
    result = checked("thin")["KD202"]
    assert result.outcome is Outcome.SKIPPED
    assert "run.step(" in result.reason


def test_what_was_looked_at_without_an_answer_is_skipped_and_says_so(checked, runs):
    undecided = diagnose(load(runs["healthy"])).undecided
    results = checked("healthy")
    assert undecided
    assert {results[code].reason for code in undecided} == {"examined, but neither shown nor ruled out"}


def test_there_is_one_check_for_each_code_that_such_a_task_can_have(checked):
    expected = [code for code, rule in all_rules().items() if not rule.only or "multiclass" in rule.only]
    assert list(checked("healthy")) == expected


def test_a_cause_that_does_no_harm_passes_and_is_worth_watching(checked):
    result = checked("masking", Policy(severity={"KD106": "note"}))["KD106"]
    assert result.outcome is Outcome.PASSED
    assert "note" in result.watch


def test_a_cause_below_the_severity_or_confidence_of_the_policy_passes_and_is_worth_watching(checked):
    for policy in (Policy(severity={"KD106": "warning"}, fail_on="error"), Policy(confidence=0.995)):
        result = checked("masking", policy)["KD106"]
        assert (result.outcome, bool(result.watch)) == (Outcome.PASSED, True)


def test_selected_and_ignored_codes_decide_which_checks_there_are(checked):
    assert list(checked("sick", Policy(select=("KD20",), ignore=("KD201",))))[:2] == ["KD202", "KD203"]
    assert failed(checked("sick", Policy(ignore=("KD2",)))) == []


def test_a_required_check_that_would_be_skipped_fails(checked):
    result = checked("thin", Policy(require=("KD202",)))["KD202"]
    assert result.outcome is Outcome.FAILED
    assert result.headline.startswith("required, but not examined: ")


def test_a_required_check_that_passes_passes(checked):
    assert checked("healthy", Policy(require=("KD202",)))["KD202"].outcome is Outcome.PASSED


def test_a_required_check_that_was_left_out_fails(checked):
    result = checked("healthy", Policy(select=("KD1",), require=("KD202",)))["KD202"]
    assert result.outcome is Outcome.FAILED
    assert "it was not chosen" in result.headline


def test_a_rule_that_crashes_is_an_error_and_all_others_are_judged(runs, monkeypatch):
    def crash(*_: object) -> None:
        raise ZeroDivisionError("a\nbug")

    rules = dict(all_rules())
    rules["KD201"] = replace(rules["KD201"], judge=crash)
    monkeypatch.setattr(examining, "all_rules", lambda: rules)
    checks = check_run(runs["sick"], Policy())
    results = {result.code: result for result in checks.results}
    assert results["KD201"].outcome is Outcome.ERROR
    assert results["KD201"].headline == "the rule crashed: ZeroDivisionError: a bug"
    assert results["KD202"].outcome in JUDGED
    assert len(results) == len(check_run(runs["sick"], Policy()).results)


def test_checks_of_which_none_could_run_have_not_run(runs):
    assert not check_run(runs["thin"], Policy(select=("KD405",))).ran
    assert not check_run(runs["thin"], Policy(select=("KD8",), ignore=("KD8",))).ran
    assert check_run(runs["thin"], Policy()).ran


def test_counts_are_worded_as_pytest_does(checked):
    results = checked("sick")
    words = counts(results.values())
    assert words.startswith("2 failed, ")
    assert words.endswith(" skipped")
    assert sum(int(part.split()[0]) for part in words.split(", ")) == len(results)


def test_values_are_plain_numbers_that_any_format_carries(checked):
    values = [number for result in checked("healthy").values() for number in (result.value, result.threshold)]
    assert {type(value) for value in values} == {float, type(None)}


@pytest.mark.parametrize("name", ["healthy", "sick", "masking", "thin"])
def test_every_text_is_one_line(checked, name):
    for result in checked(name).values():
        texts = (result.headline, *result.advice, result.watch, result.measured)
        assert all(text.isprintable() for text in texts), result.code
