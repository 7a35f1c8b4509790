"""kddoctor.toml: where it is looked for, what it may say, and how it is told what it may not."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from kddoctor.errors import UsageError
from kddoctor.policy import Accepted, Policy, read_policy


def written(folder: Path, text: str, name: str = "kddoctor.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text, "utf-8")
    return file


def refusal(tmp_path: Path, text: str) -> str:
    file = written(tmp_path, text)
    with pytest.raises(UsageError) as refused:
        read_policy(tmp_path)
    said = str(refused.value)
    assert said.startswith(f"{file}: ")
    return said.removeprefix(f"{file}: ")


def test_without_a_file_nothing_is_changed(tmp_path):
    assert read_policy(tmp_path) == Policy()


def test_everything_that_a_policy_may_say(tmp_path):
    file = written(
        tmp_path,
        """
        select = ["KD1", "noisy-teacher-labels"]
        ignore = ["KD103"]
        require = ["KD101"]
        fail-on = "error"
        confidence = 0.8
        accepted = [{code = "KD304", reason = "labels are being redone", expires = 2027-01-01, run = "nightly-*"}]
        severity = {KD304 = "note", KD1 = "warning"}
        [targets]
        retention = 0.9
        size_mb = 4
        [KD106]
        strays = 0.1
        """,
    )
    assert read_policy(tmp_path) == Policy(
        file=file,
        select=("KD1", "KD304"),
        ignore=("KD103",),
        require=("KD101",),
        severity={"KD304": "note", "KD1": "warning"},
        targets={"retention": 0.9, "size_mb": 4},
        accepted=(Accepted("KD304", "labels are being redone", date(2027, 1, 1), "nightly-*"),),
        fail_on="error",
        confidence=0.8,
        settings={"KD106": {"strays": 0.1}},
    )


def test_the_nearest_file_above_holds(tmp_path):
    written(tmp_path, "confidence = 0.1")
    near = written(tmp_path / "a", "confidence = 0.2")
    (tmp_path / "a" / "b").mkdir()
    assert read_policy(tmp_path / "a" / "b").file == near


def test_a_pyproject_without_a_section_of_ours_is_passed_over(tmp_path):
    above = written(tmp_path, "[tool.kddoctor]\nconfidence = 0.3", "pyproject.toml")
    written(tmp_path / "a", "[tool.ruff]\nline-length = 100", "pyproject.toml")
    policy = read_policy(tmp_path / "a")
    assert (policy.file, policy.confidence) == (above, 0.3)


def test_of_two_files_in_one_directory_our_own_holds(tmp_path):
    written(tmp_path, "[tool.kddoctor]\nconfidence = 0.3", "pyproject.toml")
    own = written(tmp_path, "confidence = 0.4")
    assert read_policy(tmp_path).file == own


def test_settings_stand_in_sections_of_pyproject(tmp_path):
    written(tmp_path, "[tool.kddoctor.KD106]\nstrays = 0.2", "pyproject.toml")
    assert read_policy(tmp_path).settings == {"KD106": {"strays": 0.2}}


def test_a_file_that_is_named_holds_whatever_lies_nearer(tmp_path):
    written(tmp_path, "confidence = 0.1")
    named = written(tmp_path, "confidence = 0.5", "strict.toml")
    assert read_policy(tmp_path, named).confidence == 0.5


def test_a_named_pyproject_needs_the_section(tmp_path):
    named = written(tmp_path, "[tool.ruff]", "pyproject.toml")
    with pytest.raises(UsageError, match=r"has no section \[tool.kddoctor\]"):
        read_policy(tmp_path, named)


def test_a_named_file_has_to_be_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_policy(tmp_path, tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("selct = []", "selct is not a known key; did you mean select?"),
        ("zzz = 1", "zzz is not a known key; known: select, ignore, require, severity, targets, accepted, "),
        ("[targets]\nretenton = 1", "targets.retenton is not a known key; did you mean retention?"),
        ("[targets]\nretention = 0", "targets.retention is 0; expected a number greater than 0"),
        ("[targets]\nretention = true", "targets.retention is True; expected a number"),
        ("[targets]\nretention = nan", "targets.retention is nan; expected a finite number"),
        ("[KD106]\nstray = 1", "KD106.stray is not a setting of KD106; did you mean strays?"),
        ("[KD106]\nstrays = 2", "KD106.strays is 2; expected a number from 0 to 1 (share)"),
        ("[KD106]\nstrays = nan", "KD106.strays is nan; expected a number from 0 to 1 (share)"),
        ("[KD106]\nstrays = '0.1'", "KD106.strays is '0.1'; expected a number from 0 to 1 (share)"),
        ("[KD106]\nstrays = true", "KD106.strays is True; expected a number from 0 to 1 (share)"),
        ("[KD105]\nrows = 1.5", "KD105.rows is 1.5; expected a whole number from 0 to 1e+12 (count)"),
        ("KD106 = 3", "KD106 is 3; expected settings, as in [KD106]"),
        ("[KD999]\nx = 1", "KD999 is not a known key; did you mean KD"),
        ("[severity]\nKD999 = 'note'", "severity: there is no KD999"),
        ("[severity]\nKD106 = 'notes'", "severity.KD106 is 'notes'; expected error, warning or note"),
        ("select = 'KD1'", "select is 'KD1'; expected a list"),
        (
            "select = ['noisy-teacher-lables']",
            "select: there is no noisy-teacher-lables; did you mean noisy-teacher-labels?",
        ),
        ("require = ['KD1']", "require: KD1 is not one code but the beginning of several"),
        ("require = ['KD101']\nignore = ['KD1']", "require: KD101 is never judged"),
        ("require = ['KD101']\nselect = ['KD2']", "require: KD101 is never judged"),
        ("fail-on = 'note'", "fail-on is 'note'; expected error or warning"),
        ("confidence = 2", "confidence is 2; expected a number of at most 1"),
        ("accepted = [{code = 'KD106'}]", "accepted.0.reason is missing"),
        ("accepted = [{code = 'KD106', reason = ''}]", "accepted.0.reason is ''; expected text that is not empty"),
        (
            "accepted = [{code = 'KD106', reason = 'r', expires = '2027'}]",
            "accepted.0.expires is '2027'; expected a date, as in 2027-01-01",
        ),
        ("accepted = [{code = 'KD106', reason = 'r', exp = 1}]", "accepted.exp is not a known key; did you mean expi"),
        ("select = [", "is not TOML: "),
    ],
)
def test_what_it_cannot_mean_is_named_in_one_line(tmp_path, text, said):
    refused = refusal(tmp_path, text)
    assert said in refused
    assert "\n" not in refused


def test_a_line_break_in_a_key_does_not_reach_the_terminal(tmp_path):
    assert "\x1b" not in refusal(tmp_path, '"\\u001b[31mred" = 1')


def test_an_acceptance_holds_through_its_last_day():
    policy = Policy(accepted=(Accepted("KD106", "known", date(2027, 1, 1)),))
    assert policy.acceptance("KD106", "run", date(2027, 1, 1)) is not None
    assert policy.acceptance("KD106", "run", date(2027, 1, 2)) is None


def test_an_acceptance_holds_for_the_runs_of_its_pattern_only():
    policy = Policy(accepted=(Accepted("KD106", "known", run="nightly-*"),))
    assert policy.acceptance("KD106", "nightly-3", date.max) is not None
    assert policy.acceptance("KD106", "release", date.max) is None
    assert policy.acceptance("KD105", "nightly-3", date.max) is None


def test_the_longest_prefix_decides_the_severity():
    policy = Policy(severity={"KD1": "warning", "KD106": "note"})
    assert [policy.severity_of(code) for code in ("KD106", "KD105", "KD201")] == ["note", "warning", None]
