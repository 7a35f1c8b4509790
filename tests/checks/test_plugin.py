"""``pytest --kd-run``: checks as items, under pytest's own options. Each test is a session of pytest of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kddoctor.baselines import save_baseline
from kddoctor.engine import diagnose
from kddoctor.run import load

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", "--strict-markers")


@pytest.fixture
def session(pytester, monkeypatch, checked):
    """``session("--kd-run", run)``: pytest in an empty directory, without cache."""
    checked("healthy")  # loads here what each session would otherwise load anew
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: pytester.runpytest_inprocess(*OPTIONS, *map(str, arguments))


def items(result) -> list[str]:
    return [line for line in result.outlines if "kd_run.yaml::" in line]


def test_the_plugin_is_silent_unless_it_is_asked(session, pytester, runs):
    shutil.copytree(runs["sick"], pytester.path / "run")
    pytester.makepyfile(test_own="def test_own(): pass")
    result = session("-v")
    result.assert_outcomes(passed=1)
    assert not items(result)
    assert "kddoctor:" not in result.stdout.str()


def test_importing_it_loads_nothing_heavy():
    heavy = ("torch", "numpy", "pandas", "scipy", "pydantic", "streamlit")
    code = f"import sys, kddoctor.checks.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_sick_run_fails_in_an_empty_directory(session, runs):
    result = session("--kd-run", runs["sick"])
    assert result.ret == 1
    assert result.parseoutcomes()["failed"] == 2
    result.stdout.fnmatch_lines(["collected * items*", "*KD202 loss::missing-t-squared*", "measured relative_error *"])


def test_a_failure_is_two_lines_and_no_traceback(session, runs):
    result = session("--kd-run", runs["sick"], "-k", "KD202")
    start = next(n for n, line in enumerate(result.outlines) if "KD202 loss::missing-t-squared" in line)
    first, second, after = result.outlines[start + 1 : start + 4]
    assert first.startswith("measured relative_error ")
    assert second.startswith("wanted: ")
    assert second.endswith("kddoctor explain KD202")
    assert after.startswith("====")
    assert "Error" not in result.stdout.str()


def test_a_healthy_run_passes(session, runs):
    result = session("--kd-run", runs["healthy"])
    assert result.ret == 0
    assert "failed" not in result.parseoutcomes()


def test_node_ids_hold_family_code_and_name(session, runs):
    result = session("--kd-run", runs["sick"], "--collect-only", "-q")
    assert any(line.endswith("sick/kd_run.yaml::loss::KD202[missing-t-squared]") for line in items(result))
    assert result.ret == 0


@pytest.mark.parametrize(
    ("keyword", "expected"),
    [("KD202", 1), ("kd20", 9), ("missing-t-squared", 1), ("sequence-LM", 2), ("KD202 or KD301", 2)],
)
def test_k_chooses_by_code_name_and_family(session, runs, keyword, expected):
    result = session("--kd-run", runs["sick"], "--collect-only", "-q", "-k", keyword)
    assert len(items(result)) == expected


def test_m_kddoctor_chooses_checks_or_leaves_them_out(session, pytester, runs):
    pytester.makepyfile(test_own="def test_own(): pass")
    session("--kd-run", runs["sick"], "-m", "not kddoctor").assert_outcomes(passed=1, deselected=60)
    assert "passed" in session("--kd-run", runs["healthy"], "-m", "kddoctor", "-k", "KD202").parseoutcomes()


def test_x_stops_at_the_first_failure(session, runs):
    assert session("--kd-run", runs["sick"], "-x").parseoutcomes()["failed"] == 1


def test_lf_runs_what_failed_last(pytester, runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makepyfile(test_own="def test_own(): assert False")
    arguments = ("-p", "no:xdist", "-p", "no:hypothesispytest", "--kd-run", str(runs["sick"]))
    pytester.runpytest_inprocess(*arguments)
    again = pytester.runpytest_inprocess(*arguments, "--lf")
    assert {key: n for key, n in again.parseoutcomes().items() if key != "deselected"} == {"failed": 3}


def test_a_check_can_be_named_by_its_node_id(session, pytester, runs):
    shutil.copytree(runs["sick"], pytester.path / "run")
    result = session("run/kd_run.yaml::loss::KD202")
    result.assert_outcomes(failed=1)
    session("--kd-run", "run", "run/kd_run.yaml::loss::KD202[missing-t-squared]").assert_outcomes(failed=1)


def test_several_runs_are_checked_together(session, runs):
    result = session("--kd-run", runs["sick"], "--kd-run", runs["healthy"], "-k", "KD202", "-v")
    result.assert_outcomes(passed=1, failed=1, deselected=118)


def test_the_same_run_twice_is_checked_once(session, runs):
    session("--kd-run", runs["sick"], "--kd-run", runs["sick"], "-k", "KD202").assert_outcomes(failed=1, deselected=59)


def test_skips_say_what_to_record(session, runs):
    result = session("--kd-run", runs["thin"], "-rs")
    result.stdout.fnmatch_lines(["SKIPPED * not examined: call run.step(*"])


def test_a_session_without_any_check_that_could_run_is_no_pass(session, runs):
    result = session("--kd-run", runs["thin"], "-k", "KD405")
    assert result.ret == 5
    result.stdout.fnmatch_lines(["*thin: no check could run, so nothing passed*"])


def test_a_policy_that_leaves_no_check_is_no_pass(session, pytester, runs):
    pytester.makepyfile(test_own="def test_own(): pass")
    (pytester.path / "kddoctor.toml").write_text("ignore = ['KD']")
    result = session("--kd-run", runs["healthy"])
    assert (result.ret, result.parseoutcomes()) == (5, {"passed": 1})


def test_collecting_only_is_no_failure(session, runs):
    assert session("--kd-run", runs["thin"], "-k", "KD405", "--collect-only").ret == 0


def test_junit_holds_code_value_and_threshold(session, pytester, runs):
    session("--kd-run", runs["sick"], "--junitxml", "out.xml")
    cases = {case.get("name"): case for case in ET.parse(pytester.path / "out.xml").iter("testcase")}
    case = cases["KD202[missing-t-squared]"]
    facts = {item.get("name"): item.get("value") for item in case.iter("property")}
    assert (facts["kd_code"], facts["kd_measure"]) == ("KD202", "relative_error")
    assert float(facts["kd_value"]) < float(facts["kd_threshold"])
    assert case.find("failure") is not None
    assert cases["KD405[representation-bottleneck]"].find("skipped") is not None


BROKEN = [
    ("missing", lambda path: None, "does not exist"),
    ("empty", lambda path: path.mkdir(), "is empty"),
    ("no yaml", lambda path: (path.mkdir(), (path / "kd_run.yaml").write_text("task: [")), "kd_run.yaml"),
]


@pytest.mark.parametrize(("name", "make", "words"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_a_broken_run_is_one_line_and_a_usage_error(session, pytester, name, make, words):
    make(pytester.path / "broken")
    result = session("--kd-run", "broken")
    assert result.ret == 4
    errors = [line for line in result.errlines if line]
    assert len(errors) == 1
    assert errors[0].startswith("ERROR: --kd-run: ")
    assert words in errors[0]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_no_code_in_a_run_directory_is_executed(session, pytester, runs):
    run = pytester.path / "run"
    shutil.copytree(runs["healthy"], run)
    for name in ("conftest.py", "__init__.py", "test_mine.py"):
        (run / name).write_text("open('executed', 'w').close()")
    (pytester.path / "tests").mkdir()
    session("--kd-run", run, "tests")
    assert not list(pytester.path.rglob("executed"))


def test_runs_below_the_tests_are_collected_where_the_ini_file_asks_for_it(session, pytester, runs):
    shutil.copytree(runs["sick"], pytester.path / "tests" / "recorded" / "sick")
    pytester.makeini("[pytest]\nkd_collect = true")
    result = session("-v", "-k", "KD202", "tests")
    result.assert_outcomes(failed=1, deselected=59)
    result.stdout.fnmatch_lines(["tests/recorded/sick/kd_run.yaml::loss::KD202* FAILED*"])


def test_a_broken_run_below_the_tests_is_one_line_of_a_collection_error(session, pytester):
    (pytester.path / "run").mkdir()
    (pytester.path / "run" / "kd_run.yaml").write_text("task: chess\n")
    pytester.makeini("[pytest]\nkd_collect = true")
    result = session()
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*ERROR collecting run/kd_run.yaml*", "kd_run.yaml: task is 'chess'; *"])
    assert "Traceback" not in result.stdout.str()


def test_accepted_faults_are_expected_failures(session, pytester, runs):
    (pytester.path / "kddoctor.toml").write_text(
        "[[accepted]]\ncode = 'KD201'\nreason = 'known'\n[[accepted]]\ncode = 'KD202'\nreason = 'known'\n"
    )
    result = session("--kd-run", runs["sick"], "-rx")
    assert (result.ret, result.parseoutcomes()["xfailed"]) == (0, 2)
    result.stdout.fnmatch_lines(["XFAIL *KD202* - KD202 is accepted: known"])


def test_figures_of_a_baseline_are_items_too(session, pytester, runs):
    runs_saved = [load(runs["healthy"])]
    file = pytester.path / "good.json"
    save_baseline(runs_saved, [diagnose(run) for run in runs_saved], file, reason="first")
    (pytester.path / "kddoctor.toml").write_text("ignore = ['KD1', 'KD5']\n[baseline]\nfile = 'good.json'\n")
    result = session("--kd-run", runs["masking"], "-k", "accuracy")
    assert (result.ret, result.parseoutcomes()["failed"]) == (1, 1)
    result.stdout.fnmatch_lines(["FAILED *::baseline::baseline[[]accuracy] - measured accuracy worse by *"])
    assert session("--kd-run", runs["healthy"], "-k", "baseline").ret == 0


def test_an_accepted_fault_that_does_not_occur_fails(session, pytester, runs):
    (pytester.path / "kddoctor.toml").write_text("[[accepted]]\ncode = 'KD202'\nreason = 'known'\n")
    result = session("--kd-run", runs["healthy"])
    assert (result.ret, result.parseoutcomes()["failed"]) == (1, 1)
    result.stdout.fnmatch_lines(["unexpectedly passed: KD202 is accepted: known; take the entry out of kddoctor.toml"])


def test_unused_acceptances_and_harmless_findings_are_reported_at_the_end(session, pytester, runs):
    (pytester.path / "kddoctor.toml").write_text(
        "severity = {KD106 = 'note'}\n[[accepted]]\ncode = 'KD405'\nreason = 'known'\n"
    )
    result = session("--kd-run", runs["masking"], "-k", "KD106")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["worth watching *masking: KD106 *(note, *", "*KD405 is accepted: known *not used*"])


def test_a_policy_with_a_mistake_is_a_usage_error(session, pytester, runs):
    (pytester.path / "kddoctor.toml").write_text("selekt = ['KD2']")
    result = session("--kd-run", runs["healthy"])
    assert result.ret == 4
    assert "did you mean select?" in result.stderr.str()


def test_warnings_that_are_errors_do_not_reach_the_checks(session, runs):
    assert session("--kd-run", runs["masking"], "-W", "error").parseoutcomes()["failed"] == 1


def test_the_header_names_the_run_and_whose_thresholds_hold(session, runs):
    session("--kd-run", runs["healthy"], "-k", "KD202").stdout.fnmatch_lines(
        [f"kddoctor: {Path(runs['healthy']).resolve()} (thresholds: the defaults)"]
    )
