"""``kddoctor treat`` as users type it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from kddoctor.treatment import treat as treatment
from tests.cli.running import Command
from tests.treatment.recorded import sick_run


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sick_run(tmp_path_factory.mktemp("sick") / "run")


def test_a_dry_run_shows_the_change_and_makes_none(kddoctor: Command, sick: Path, tmp_path: Path) -> None:
    answer = kddoctor("treat", sick, "--output", tmp_path / "out", "--dry-run", "--epochs", "9")
    assert answer.code == 0
    assert answer.out.startswith("KD202")
    assert "+ training.epochs: 9" in answer.out
    assert not (tmp_path / "out").exists()


def test_it_says_before_and_after(kddoctor: Command, sick: Path, tmp_path: Path) -> None:
    answer = kddoctor("treat", sick, "--output", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "Treated KD202" in answer.out
    assert "before" in answer.out
    assert "after" in answer.out
    assert "epoch 6 of 6" in answer.err
    again = kddoctor("treat", sick, "--output", tmp_path / "out")
    assert (again.code, again.out) == (2, "")
    assert "already exists" in again.err


def test_an_interruption_says_how_to_go_on(
    kddoctor: Command, sick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(treatment, "treat", interrupted)
        answer = kddoctor("treat", sick, "--output", tmp_path / "my out", "--only", "KD202", "--epochs", "9")
    assert answer.code == 130
    advised = answer.err.strip().partition("go on with: kddoctor ")[2]
    assert shlex.split(advised) == [
        *("treat", str(sick), "--output", str(tmp_path / "my out"), "--only", "KD202", "--epochs", "9", "--resume")
    ]


def test_only_what_was_found_can_be_treated(kddoctor: Command, sick: Path, tmp_path: Path) -> None:
    answer = kddoctor("treat", sick, "--output", tmp_path / "out", "--only", "KD106")
    assert answer.code == 2
    assert "nothing to treat among KD106" in answer.err
    assert kddoctor("treat", sick, "--output", tmp_path / "out", "--only", "nonsense").code == 2
    assert kddoctor("treat", tmp_path / "nowhere", "--output", tmp_path / "out").code == 2


def test_an_output_is_asked_for(kddoctor: Command, sick: Path) -> None:
    answer = kddoctor("treat", sick)
    assert answer.code == 2
    assert "--output" in answer.err
