"""``kddoctor diagnose``: exit codes, what stdout carries, files, and the choice of codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import recorded_run

EXIT = {"healthy": 0, "sick": 1, "inconclusive": 3}


@pytest.mark.parametrize("verdict", EXIT)
def test_the_exit_code_is_the_verdict(kddoctor, runs, verdict):
    assert kddoctor("diagnose", runs[verdict]).code == EXIT[verdict]


@pytest.mark.parametrize("verdict", EXIT)
def test_exit_zero_is_zero_whatever_the_verdict(kddoctor, runs, verdict):
    assert kddoctor("diagnose", runs[verdict], "--exit-zero").code == 0


def test_exit_zero_does_not_hide_bad_input(kddoctor, tmp_path):
    assert kddoctor("diagnose", tmp_path, "--exit-zero").code == 2


@pytest.mark.parametrize("verdict", EXIT)
def test_json_on_stdout_is_that_and_nothing_else(kddoctor, runs, verdict):
    answer = kddoctor("diagnose", runs[verdict], "--format", "json")
    assert json.loads(answer.out)["verdict"] == verdict
    assert answer.code == EXIT[verdict]


def test_warnings_do_not_get_into_the_json(kddoctor, tmp_path):
    run = recorded_run(tmp_path / "run", declared={"temprature": 3.0})
    answer = kddoctor("diagnose", run, "--format", "json")
    assert json.loads(answer.out)
    assert "temprature" in answer.err


def test_the_json_file_holds_the_bytes_of_stdout(kddoctor, runs, tmp_path):
    file = tmp_path / "out.json"
    answer = kddoctor("diagnose", runs["sick"], "--json", file, "--format", "json")
    assert file.read_bytes() == answer.out.encode()


def test_a_json_file_adds_to_the_text_and_does_not_replace_it(kddoctor, runs, tmp_path):
    plain = kddoctor("diagnose", runs["sick"])
    both = kddoctor("diagnose", runs["sick"], "--json", tmp_path / "out.json")
    assert both.out == plain.out


def test_the_same_command_writes_the_same_file_twice(kddoctor, runs, tmp_path):
    for name in ("a.json", "b.json"):
        kddoctor("diagnose", runs["sick"], "--json", tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_json_file_replaces_an_older_one_and_leaves_nothing_beside_it(kddoctor, runs, tmp_path):
    file = tmp_path / "out.json"
    file.write_text("older")
    kddoctor("diagnose", runs["healthy"], "--json", file)
    assert json.loads(file.read_text())["verdict"] == "healthy"
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_that_cannot_be_read_leaves_an_older_json_file_alone(kddoctor, tmp_path):
    file = tmp_path / "out.json"
    file.write_text("older")
    assert kddoctor("diagnose", tmp_path / "missing", "--json", file).code == 2
    assert file.read_text() == "older"


def test_a_json_file_that_cannot_be_written_is_bad_usage_and_leaves_nothing(kddoctor, runs, tmp_path):
    answer = kddoctor("diagnose", runs["sick"], "--json", tmp_path / "no" / "such" / "out.json")
    assert answer.code == 2
    assert "cannot be written" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_place_of_the_json_file_is_bad_usage_and_leaves_nothing(kddoctor, runs, tmp_path):
    (tmp_path / "out.json").mkdir()
    answer = kddoctor("diagnose", runs["sick"], "--json", tmp_path / "out.json")
    assert answer.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def codes_of(answer) -> set[str]:
    return {finding["code"] for finding in json.loads(answer.out)["findings"]}


def judged(answer) -> set[str]:
    data = json.loads(answer.out)
    return codes_of(answer) | set(data["ruled_out"]) | {item["code"] for item in data["not_examined"]}


@pytest.mark.parametrize("wanted", ["KD201", "kd201", " KD201 "])
def test_a_selected_code_is_the_only_one_judged(kddoctor, runs, wanted):
    assert judged(kddoctor("diagnose", runs["sick"], "--format", "json", "--select", wanted)) == {"KD201"}


def test_a_prefix_selects_a_family(kddoctor, runs):
    found = judged(kddoctor("diagnose", runs["sick"], "--format", "json", "--select", "KD2"))
    assert found
    assert all(code.startswith("KD2") for code in found)


def test_several_codes_are_selected_with_commas(kddoctor, runs):
    answer = kddoctor("diagnose", runs["sick"], "--format", "json", "--select", "KD201,KD202")
    assert codes_of(answer) == {"KD201", "KD202"}


def test_an_ignored_code_is_not_judged(kddoctor, runs):
    found = judged(kddoctor("diagnose", runs["sick"], "--format", "json", "--ignore", "KD201"))
    assert "KD201" not in found
    assert "KD202" in found


def test_ignoring_every_cause_is_no_sickness(kddoctor, runs):
    assert kddoctor("diagnose", runs["sick"], "--ignore", "KD2").code in (0, 3)


@pytest.mark.parametrize("option", ["--select", "--ignore"])
@pytest.mark.parametrize(("typo", "meant"), [("KD215", "KD205"), ("KD20I", "KD201"), ("missing-t-square", "missing-t")])
def test_an_unknown_code_is_bad_usage_and_the_nearest_is_suggested(kddoctor, runs, option, typo, meant):
    answer = kddoctor("diagnose", runs["sick"], option, typo)
    assert answer.code == 2
    assert (answer.out, answer.err.count("\n")) == ("", 1)
    assert "did you mean" in answer.err


def test_one_line_is_one_line(kddoctor, runs):
    answer = kddoctor("diagnose", runs["sick"], "--quiet")
    assert answer.out.split("\t")[:2] == ["sick", "KD201,KD202"]
    assert answer.out.count("\n") == 1


def test_verbose_says_what_to_record_for_every_code_that_could_not_be_judged(kddoctor, runs):
    answer = kddoctor("diagnose", runs["inconclusive"], "--verbose")
    assert "run.step(" in answer.out
    assert "metrics.jsonl" in answer.out


def test_a_warning_about_the_manifest_goes_to_stderr_and_changes_nothing_else(kddoctor, tmp_path):
    answer = kddoctor("diagnose", recorded_run(tmp_path / "run", declared={"temprature": 3.0}))
    assert answer.code == 0
    assert answer.err.splitlines() == [
        "warning: kd_run.yaml: distillation.temprature is not a known key; did you mean temperature?"
    ]


def test_diagnosing_changes_nothing_in_the_run(kddoctor, runs):
    def state(run: Path) -> dict[str, tuple[bytes, int]]:
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(run.rglob("*")) if p.is_file()}

    before = state(runs["sick"])
    kddoctor("diagnose", runs["sick"])
    assert state(runs["sick"]) == before
