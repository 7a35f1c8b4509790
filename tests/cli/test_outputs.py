"""Files that ``kddoctor diagnose`` writes beside what it prints, and what it prints in GitHub Actions."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from kddoctor.report.formats import RENDERERS
from tests.builders import recorded_run
from tests.cli.running import in_a_process

FILES = ("json", "md", "sarif", "junit")
EXIT = {"healthy": 0, "sick": 1, "inconclusive": 3}


def options(folder: Path) -> list[str]:
    return [part for name in FILES for part in (f"--{name}", str(folder / f"out.{name}"))]


@pytest.mark.parametrize("verdict", EXIT)
def test_all_files_are_written_in_one_run_and_the_text_is_what_it_was(kddoctor, runs, tmp_path, verdict):
    plain = kddoctor("diagnose", runs[verdict])
    answer = kddoctor("diagnose", runs[verdict], *options(tmp_path))
    assert (answer.out, answer.code) == (plain.out, EXIT[verdict])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"out.{name}" for name in FILES)
    assert json.loads((tmp_path / "out.sarif").read_text())["version"] == "2.1.0"
    assert ET.parse(tmp_path / "out.junit").getroot().tag == "testsuites"


def test_every_renderer_has_an_option(kddoctor):
    shown = kddoctor("diagnose", "--help").out
    assert set(FILES) <= set(RENDERERS)
    for name in RENDERERS:
        assert f"--{name}" in shown


def test_the_same_command_writes_the_same_bytes_twice(kddoctor, runs, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        kddoctor("diagnose", runs["sick"], *options(tmp_path / name))
    for name in FILES:
        assert (tmp_path / "a" / f"out.{name}").read_bytes() == (tmp_path / "b" / f"out.{name}").read_bytes()


@pytest.mark.parametrize("bad", ["no/such/out.junit", "taken", ".", "file/out.junit"])
def test_where_one_file_cannot_be_written_none_is(kddoctor, runs, tmp_path, monkeypatch, bad):
    monkeypatch.chdir(tmp_path)
    Path("taken").mkdir()
    Path("file").write_text("older")
    Path("out.md").write_text("older")
    answer = kddoctor("diagnose", runs["sick"], "--md", "out.md", "--sarif", "out.sarif", "--junit", bad)
    assert answer.code == 2
    assert "cannot be written" in answer.err
    assert answer.err.count("\n") == 1
    assert Path("out.md").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out.md", "taken"]


def test_two_options_for_one_file_are_bad_usage(kddoctor, runs, tmp_path):
    answer = kddoctor("diagnose", runs["sick"], "--md", tmp_path / "out", "--junit", f"{tmp_path}/./out")
    assert answer.code == 2
    assert "--md and --junit" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_github_gets_the_text_annotations_and_a_job_summary(kddoctor, runs, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("an earlier step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    plain = kddoctor("diagnose", runs["sick"])
    answer = kddoctor("diagnose", runs["sick"], "--format", "github")
    assert answer.code == 1
    assert plain.out in answer.out
    assert answer.out.splitlines()[-1].startswith("::error file=")
    assert summary.read_text().startswith("an earlier step\n# kddoctor: sick")


def test_actions_are_recognised_by_themselves_unless_a_format_is_given(kddoctor, runs, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error" in kddoctor("diagnose", runs["sick"]).out
    assert "::" not in kddoctor("diagnose", runs["sick"], "--format", "text").out
    assert json.loads(kddoctor("diagnose", runs["sick"], "--format", "json").out)


def test_outside_of_actions_nothing_is_annotated(kddoctor, runs):
    assert "::" not in kddoctor("diagnose", runs["sick"]).out


def test_a_summary_that_cannot_be_written_does_not_change_the_verdict(kddoctor, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no" / "summary.md"))
    answer = kddoctor("diagnose", runs["sick"], "--format", "github")
    assert answer.code == 1
    assert "GITHUB_STEP_SUMMARY" in answer.err


def test_a_run_named_like_a_command_gives_github_no_other_command(tmp_path):
    run = recorded_run(tmp_path / "::error::pwned", steps=0, metrics=[])
    answer = in_a_process("diagnose", run.name, "--format", "github", cwd=tmp_path)
    first, *rest = answer.out.splitlines()
    end = rest.index(f"::{first.removeprefix('::stop-commands::')}::")
    (command,) = rest[end + 1 :]
    assert command.startswith("::warning file=%3A%3Aerror%3A%3Apwned/kd_run.yaml,line=1,")
