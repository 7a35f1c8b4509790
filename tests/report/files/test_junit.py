"""JUnit: read back by a library that CI servers' users use, failing for causes, an error where nobody can tell."""

from __future__ import annotations

from typing import Any

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase

from kddoctor.report.junit import render_junit


def suite_of(case: Any) -> Any:
    (suite,) = JUnitXml.fromstring(render_junit(*case).encode())
    return suite


def one_test(suite: Any, start: str) -> TestCase:
    return next(test for test in suite if test.name.startswith(start))


def kinds(test: TestCase) -> list[type]:
    return [type(result) for result in test.result]


def test_a_cause_is_a_failure_with_its_evidence(cases):
    failed = one_test(suite_of(cases["sick"]), "KD201")
    (failure,) = failed.result
    assert isinstance(failure, Failure)
    assert "too weak" in failure.message
    assert "for: " in failure.text
    assert "fix: " in failure.text


@pytest.mark.parametrize(("verdict", "kind"), [("sick", [Failure]), ("inconclusive", [Error]), ("healthy", [])])
def test_the_verdict_is_a_test_of_its_own(cases, verdict, kind):
    assert kinds(one_test(suite_of(cases[verdict]), "verdict")) == kind


def test_a_healthy_run_has_neither_failures_nor_errors(cases):
    suite = suite_of(cases["healthy"])
    assert (suite.failures, suite.errors) == (0, 0)


@pytest.mark.parametrize("verdict", ["healthy", "sick", "inconclusive"])
def test_every_code_is_one_test_and_only_those_ruled_out_pass(cases, verdict):
    suite, diagnosis = suite_of(cases[verdict]), cases[verdict].diagnosis
    passed = {test.name[:5] for test in suite if not test.result and test.name != "verdict"}
    skipped = {test.name[:5] for test in suite if kinds(test) == [Skipped]}
    assert passed == set(diagnosis.ruled_out)
    assert skipped >= {item.code for item in diagnosis.not_examined} | set(diagnosis.undecided)
    names = [test.name for test in suite]
    assert len(names) == len(set(names)) == suite.tests


def test_counts_are_those_of_the_tests(cases):
    suite = suite_of(cases["sick"])
    assert suite.failures == sum(kinds(test) == [Failure] for test in suite)
    assert suite.skipped == sum(kinds(test) == [Skipped] for test in suite)


def test_hostile_names_are_text(hostile):
    failed = one_test(suite_of(hostile), "KD201")
    assert "<script>alert(1)</script>" in failed.result[0].message
    assert "]]>" in failed.result[0].text
