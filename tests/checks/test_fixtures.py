"""The fixtures kd_run and kd_diagnosis in a user's own tests."""

from __future__ import annotations

import pytest

from tests.checks.test_plugin import session

__all__ = ["session"]

OWN = """
def test_own(kd_run, kd_diagnosis):
    assert (kd_run.name, kd_diagnosis.verdict) in [("sick", "sick"), ("healthy", "healthy")]
"""


@pytest.fixture
def own(pytester):
    """A test of the user's."""
    return lambda source=OWN: pytester.makepyfile(test_own=source)


def test_they_give_the_run_of_the_command_line(session, own, runs):
    own()
    session("--kd-run", runs["sick"], "-m", "not kddoctor").assert_outcomes(passed=1, deselected=60)


def test_a_test_is_run_once_for_each_run(session, own, runs):
    own()
    result = session("--kd-run", runs["sick"], "--kd-run", runs["healthy"], "-m", "not kddoctor", "-v")
    result.stdout.fnmatch_lines(["*test_own?sick? PASSED*", "*test_own?healthy? PASSED*"])


def test_they_give_the_runs_of_the_ini_file(session, own, pytester, runs):
    own()
    pytester.makeini(f"[pytest]\nkd_runs = {runs['healthy']}")
    session().assert_outcomes(passed=1)


def test_they_give_the_run_of_a_marker(session, own, runs):
    own(f"import pytest\n\n@pytest.mark.kd_run({str(runs['healthy'])!r}){OWN}")
    session().assert_outcomes(passed=1)


def test_without_a_run_they_say_how_to_give_one(session, own):
    own()
    result = session()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["no run was given to the fixture kd_run: start pytest with --kd-run RUN_DIR, *"])
    assert "fixtures.py" not in result.stdout.str()


def test_a_run_that_cannot_be_read_is_one_line(session, own):
    own(f"import pytest\n\n@pytest.mark.kd_run('missing'){OWN}")
    result = session()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*missing: does not exist; expected a run directory."])
    assert "fixtures.py" not in result.stdout.str()
