"""Accepted faults: expected until a day, failures from then on, and failures where they do not occur."""

from __future__ import annotations

from datetime import date, timedelta

from kddoctor.checks.results import Outcome
from kddoctor.checks.running import check_run
from kddoctor.policy import Accepted, Policy
from tests.checks.conftest import TODAY


def accepting(*accepted: Accepted) -> Policy:
    return Policy(accepted=accepted)


def unused(runs, *accepted: Accepted) -> tuple[str, ...]:
    return check_run(runs["sick"], accepting(*accepted), today=TODAY).unused


def test_an_accepted_fault_is_expected_and_says_why_and_until_when(checked):
    result = checked("sick", accepting(Accepted("KD202", "as in the paper", TODAY)))["KD202"]
    assert result.outcome is Outcome.XFAILED
    assert result.reason == "KD202 is accepted until 2026-01-15: as in the paper"


def test_other_faults_fail_as_before(checked):
    assert checked("sick", accepting(Accepted("KD202", "as in the paper")))["KD201"].outcome is Outcome.FAILED


def test_it_fails_from_the_day_after_its_last_and_names_that_day(checked):
    expired = Accepted("KD202", "as in the paper", TODAY - timedelta(days=1))
    result = checked("sick", accepting(expired))["KD202"]
    assert result.outcome is Outcome.FAILED
    assert result.headline.startswith("accepted until 2026-01-14 and no longer (as in the paper); measured ")


def test_a_second_entry_that_still_holds_is_enough(checked):
    entries = Accepted("KD202", "old", date(2020, 1, 1)), Accepted("KD202", "new", date(2030, 1, 1))
    result = checked("sick", accepting(*entries))["KD202"]
    assert (result.outcome, result.reason) == (Outcome.XFAILED, "KD202 is accepted until 2030-01-01: new")


def test_a_fault_that_does_not_occur_fails_as_unexpectedly_passed(checked):
    result = checked("healthy", accepting(Accepted("KD202", "as in the paper")))["KD202"]
    assert result.outcome is Outcome.FAILED
    assert result.headline.startswith("unexpectedly passed: KD202 is accepted: as in the paper; take the entry out")


def test_an_entry_is_about_the_runs_that_its_glob_names(checked):
    entry = Accepted("KD202", "as in the paper", run="si*")
    assert checked("sick", accepting(entry))["KD202"].outcome is Outcome.XFAILED
    assert checked("healthy", accepting(entry))["KD202"].outcome is Outcome.PASSED


def test_a_harmless_finding_counts_as_still_there(checked):
    policy = Policy(severity={"KD106": "note"}, accepted=(Accepted("KD106", "known"),))
    assert checked("masking", policy)["KD106"].outcome is Outcome.XFAILED


def test_what_cannot_be_judged_stays_skipped(checked):
    assert checked("thin", accepting(Accepted("KD202", "known")))["KD202"].outcome is Outcome.SKIPPED


def test_requiring_an_accepted_check_that_was_skipped_makes_it_fail(checked):
    policy = Policy(require=("KD202",), accepted=(Accepted("KD202", "known"),))
    assert checked("thin", policy)["KD202"].outcome is Outcome.FAILED


def test_an_entry_that_is_used_is_not_reported(runs):
    assert unused(runs, Accepted("KD202", "known")) == ()


def test_an_entry_whose_check_was_skipped_is_reported(runs):
    assert unused(runs, Accepted("KD405", "known")) == (
        "KD405 is accepted: known (the policy): not used, its check was skipped",
    )


def test_an_entry_whose_code_such_a_task_cannot_have_is_reported(runs):
    assert unused(runs, Accepted("KD801", "known"))[0].endswith("not used, its check is not among those chosen")


def test_an_entry_about_other_runs_is_not_reported(runs):
    assert unused(runs, Accepted("KD405", "known", run="healthy")) == ()
