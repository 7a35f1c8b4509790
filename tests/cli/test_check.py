"""``kddoctor check``: pytest's exit codes, what is printed, and the JUnit file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml, Properties, Skipped

from kddoctor import cli
from kddoctor.rules.registry import all_rules
from tests.builders import recorded_run
from tests.cli.running import in_a_process


@pytest.fixture(autouse=True)
def _nobodys_policy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "code"), [("healthy", 0), ("sick", 1), ("inconclusive", 0)])
def test_the_exit_code_is_pytests(kddoctor, runs, name, code):
    assert kddoctor("check", runs[name]).code == code


def test_nothing_that_could_run_is_no_pass(kddoctor, runs):
    answer = kddoctor("check", runs["inconclusive"], "--select", "KD405")
    assert answer.code == 5
    assert "Nothing could be checked, so nothing passed." in answer.out


@pytest.mark.parametrize(
    "arguments", [("missing",), (".",), ("--no-such-option",), (), ("{run}", "--select", "KD215"), ("{run}", "extra")]
)
def test_bad_usage_and_broken_runs_exit_4_without_a_traceback(kddoctor, runs, arguments):
    answer = kddoctor("check", *(argument.format(run=runs["sick"]) for argument in arguments))
    assert (answer.code, answer.out) == (4, "")
    assert answer.err
    assert "Traceback" not in answer.err


def test_help_exits_0(kddoctor):
    assert kddoctor("check", "--help").code == 0


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 2), (ZeroDivisionError("bug"), 3)])
def test_an_interruption_exits_2_and_a_failure_of_kddoctor_itself_3(kddoctor, runs, monkeypatch, raised, code):
    def stop(*_: object) -> None:
        raise raised

    monkeypatch.setattr(sys.modules["kddoctor.cli.check"], "policy_of", stop)
    assert kddoctor("check", runs["sick"]).code == code


def test_each_family_is_a_row_of_ticks(kddoctor, runs):
    lines = kddoctor("check", runs["sick"]).out.splitlines()
    assert any(line.startswith("  loss          ✗ ✗ ✓ ") for line in lines)
    families = [line.split()[0] for line in lines[2 : lines.index("", 2)]]
    assert families == list(dict.fromkeys(rule.family for code, rule in all_rules().items() if not rule.only))
    assert lines[0].endswith("   60 checks   thresholds: the defaults")


def test_failures_come_with_their_measurement_and_again_as_one_line_at_the_end(kddoctor, runs):
    lines = kddoctor("check", runs["sick"]).out.splitlines()
    start = lines.index("KD202 loss::missing-t-squared")
    assert lines[start + 1].startswith("    measured relative_error ")
    assert "    kddoctor explain KD202" in lines[start:]
    assert [line.split()[1] for line in lines if line.startswith("FAILED ")] == ["KD201", "KD202"]
    assert lines[-1].startswith("2 failed, ")


def test_the_same_command_prints_the_same_twice(kddoctor, runs):
    assert kddoctor("check", runs["sick"]) == kddoctor("check", runs["sick"])


def test_quiet_prints_what_failed_and_the_counts(kddoctor, runs):
    lines = kddoctor("check", runs["sick"], "-q").out.splitlines()
    assert [line.split()[0] for line in lines] == ["FAILED", "FAILED", "2"]


def test_verbose_prints_each_check_and_why_it_was_skipped(kddoctor, runs):
    lines = kddoctor("check", runs["inconclusive"], "-v").out.splitlines()
    line = next(line for line in lines if line.startswith("KD202 "))
    assert line.startswith("KD202 loss::missing-t-squared SKIPPED (not examined: call run.step(")


def test_a_stream_that_carries_ascii_alone_gets_ascii(runs):
    answer = in_a_process("check", runs["sick"], PYTHONIOENCODING="ascii")
    assert answer.code == 1
    assert "  loss          x x ok ok" in answer.out


def test_required_checks_that_would_be_skipped_fail(kddoctor, runs):
    answer = kddoctor("check", runs["healthy"], "--require", "KD405,KD202")
    assert answer.code == 1
    assert "FAILED KD405 capacity::representation-bottleneck - required, but not examined: " in answer.out


def test_selected_and_ignored_codes_decide_what_is_checked(kddoctor, runs):
    assert kddoctor("check", runs["sick"], "--ignore", "KD2").code == 0
    assert kddoctor("check", runs["sick"], "--select", "KD202", "-q").out.endswith("\n1 failed\n")


def test_the_nearest_policy_holds_and_another_can_be_named(kddoctor, runs, tmp_path):
    (tmp_path / "kddoctor.toml").write_text("ignore = ['KD2']")
    (tmp_path / "strict.toml").write_text("require = ['KD405']")
    answer = kddoctor("check", runs["sick"])
    assert (answer.code, answer.err) == (0, "policy: kddoctor.toml\n")
    assert "thresholds: kddoctor.toml" in answer.out
    assert kddoctor("check", runs["healthy"], "--config", "strict.toml").code == 1


def test_an_accepted_fault_is_no_failure_and_an_unused_acceptance_is_named(kddoctor, runs, tmp_path):
    entry = "[[accepted]]\ncode = '{}'\nreason = 'known'\nexpires = 2999-12-31\n"
    (tmp_path / "kddoctor.toml").write_text("".join(map(entry.format, ("KD201", "KD202", "KD405"))))
    answer = kddoctor("check", runs["sick"], "-v")
    assert answer.code == 0
    assert "KD202 loss::missing-t-squared XFAIL (KD202 is accepted until 2999-12-31: known)" in answer.out
    assert "KD405 is accepted until 2999-12-31: known (kddoctor.toml): not used, its check was skipped" in " ".join(
        answer.out.split()
    )


def test_control_characters_of_a_run_do_not_reach_the_terminal(kddoctor, tmp_path, runs):
    run = tmp_path / "a\x1b[31mrun"
    shutil.copytree(runs["sick"], run)
    assert "\x1b" not in kddoctor("check", run).out


def test_a_reader_that_leaves_early_does_not_make_a_sick_run_pass(runs):
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = [sys.executable, "-m", "kddoctor", "check", str(runs["sick"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait()) == (b"", 1)


def test_a_misspelt_key_of_the_run_is_warned_of(kddoctor, tmp_path):
    answer = kddoctor("check", recorded_run(tmp_path / "run", declared={"temprature": 3.0}))
    assert answer.err == (
        "warning: kd_run.yaml: distillation.temprature is not a known key; did you mean temperature?\n"
    )


def test_the_junit_file_holds_every_check_by_family(kddoctor, runs, tmp_path):
    answer = kddoctor("check", runs["sick"], "--junit", "out.xml")
    report = JUnitXml.fromfile(str(tmp_path / "out.xml"))
    cases = {case.name: case for suite in report for case in suite}
    counted = answer.out.splitlines()[-1]
    assert counted == f"{report.failures} failed, {report.tests - 2 - report.skipped} passed, {report.skipped} skipped"
    assert isinstance(cases["KD202[missing-t-squared]"].result[0], Failure)
    assert isinstance(cases["KD405[representation-bottleneck]"].result[0], Skipped)
    assert not any(isinstance(result, Error) for case in cases.values() for result in case.result)
    facts = {p.name: p.value for p in next(cases["KD202[missing-t-squared]"].iterchildren(Properties))}
    assert (facts["kd_code"], float(facts["kd_threshold"])) == ("KD202", 1e-4)


def test_the_junit_file_is_the_same_bytes_twice_and_leaves_nothing_beside_it(kddoctor, runs, tmp_path):
    written = []
    for _ in range(2):
        kddoctor("check", runs["sick"], "--junit", "out.xml")
        written.append((tmp_path / "out.xml").read_bytes())
    assert written[0] == written[1]
    assert [path.name for path in tmp_path.iterdir()] == ["out.xml"]


def test_a_junit_file_that_cannot_be_written_is_bad_usage(kddoctor, runs):
    answer = kddoctor("check", runs["sick"], "--junit", "no/such/out.xml")
    assert answer.code == 4
    assert "cannot be written" in answer.err


def test_names_of_a_run_cannot_break_the_junit_file(kddoctor, tmp_path):
    run = recorded_run(tmp_path / 'a<b>&"c"')
    kddoctor("check", run, "--junit", "out.xml")
    assert JUnitXml.fromfile(str(tmp_path / "out.xml")).name == 'kddoctor check a<b>&"c"'
