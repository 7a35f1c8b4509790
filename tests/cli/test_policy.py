"""kddoctor.toml as users meet it: which file holds, what it changes in a diagnosis, and that it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import recorded_run


@pytest.fixture
def project(tmp_path, monkeypatch):
    """``project(text)`` writes a kddoctor.toml into the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def write(text: str) -> Path:
        file = folder / "kddoctor.toml"
        file.write_text(text, "utf-8")
        return file

    return write


def judged(answer) -> set[str]:
    data = json.loads(answer.out)
    codes = {finding["code"] for finding in data["findings"]}
    return codes | set(data["ruled_out"]) | set(data["undecided"]) | {item["code"] for item in data["not_examined"]}


def test_nothing_is_said_where_there_is_no_policy(kddoctor, runs, project):
    assert kddoctor("diagnose", runs["sick"]).err == ""


def test_it_is_said_which_file_holds(kddoctor, runs, project):
    project('ignore = ["KD103"]')
    assert kddoctor("diagnose", runs["sick"]).err == "policy: kddoctor.toml\n"


def test_a_policy_in_the_run_directory_does_not_hold(kddoctor, project, tmp_path):
    run = recorded_run(tmp_path / "run")
    (run / "kddoctor.toml").write_text('select = ["KD101"]')
    answer = kddoctor("diagnose", run, "--format", "json")
    assert answer.err == ""
    assert "KD201" in judged(answer)


def test_the_file_selects_and_ignores(kddoctor, runs, project):
    project('select = ["KD20"]\nignore = ["KD201"]')
    found = judged(kddoctor("diagnose", runs["sick"], "--format", "json"))
    assert "KD202" in found
    assert "KD201" not in found
    assert "KD101" not in found


def test_the_command_line_wins_over_the_file(kddoctor, runs, project):
    project('select = ["KD101"]\nignore = ["KD201"]')
    found = judged(kddoctor("diagnose", runs["sick"], "--format", "json", "--select", "KD20", "--ignore", "KD202"))
    assert "KD201" in found
    assert not found & {"KD101", "KD202"}


def test_a_note_is_not_sick(kddoctor, runs, project):
    assert kddoctor("diagnose", runs["sick"], "--select", "KD201").code == 1
    project('severity = {KD201 = "note"}')
    answer = kddoctor("diagnose", runs["sick"], "--select", "KD201", "--format", "json")
    assert json.loads(answer.out)["findings"][0]["severity"] == "note"
    assert json.loads(answer.out)["verdict"] != "sick"
    assert answer.code != 1


def test_a_target_of_the_policy_replaces_that_of_the_run(kddoctor, project, tmp_path):
    run = recorded_run(tmp_path / "run", targets={"retention": 0.5})
    project("[targets]\nretention = 1.5")
    answer = kddoctor("diagnose", run, "--select", "KD704", "--format", "json")
    (finding,) = json.loads(answer.out)["findings"]
    assert (finding["code"], finding["role"], finding["where"]) == ("KD704", "cause", "kddoctor.toml: targets")
    assert [(e["threshold"], e["origin"]) for e in finding["evidence"]] == [(1.5, "set in kddoctor.toml")]


def test_a_required_code_that_could_not_be_examined_leaves_nobody_healthy(kddoctor, runs, project):
    assert kddoctor("diagnose", runs["healthy"]).code == 0
    project('require = ["KD405"]')
    answer = kddoctor("diagnose", runs["healthy"])
    assert answer.code == 3
    assert "Required, but not examined: KD405." in answer.out


def test_a_required_code_that_was_examined_changes_nothing(kddoctor, runs, project):
    project('require = ["KD201"]')
    assert kddoctor("diagnose", runs["healthy"]).code == 0


def test_an_accepted_cause_is_named_all_the_same_and_its_acceptance_said(kddoctor, runs, project):
    project('accepted = [{code = "KD201", reason = "old loop", expires = 9999-01-01, run = "si*"}]')
    answer = kddoctor("diagnose", runs["sick"])
    assert answer.code == 1
    assert "kddoctor.toml: KD201 is accepted until 9999-01-01: old loop (kddoctor check lets it pass)" in answer.err


def test_another_file_is_named_on_the_command_line(kddoctor, runs, project, tmp_path):
    project('select = ["KD101"]')
    other = tmp_path / "strict.toml"
    other.write_text('select = ["KD201"]')
    answer = kddoctor("diagnose", runs["sick"], "--config", other, "--format", "json")
    assert judged(answer) == {"KD201"}
    assert answer.err == f"policy: {other}\n"


def test_a_policy_that_cannot_be_read_is_bad_usage_and_judges_nothing(kddoctor, runs, project):
    project("selct = []")
    answer = kddoctor("diagnose", runs["sick"])
    assert (answer.code, answer.out) == (2, "")
    assert "selct is not a known key; did you mean select?" in answer.err


def test_the_page_of_a_code_lists_its_settings(kddoctor):
    page = kddoctor("explain", "KD106").out
    assert "In kddoctor.toml, below [KD106]:" in page
    assert "strays = 0.05   a number from 0 to 1 (share)" in page


def test_a_question_about_one_run_is_answered_under_the_policy(kddoctor, tmp_path, project):
    run = recorded_run(tmp_path / "run", targets={"retention": 0.5})
    project("[targets]\nretention = 1.5")
    assert "against 1.5 (set in kddoctor.toml)" in " ".join(kddoctor("explain", "KD704", run).out.split())
