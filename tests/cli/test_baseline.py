"""``kddoctor baseline`` as users type it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from kddoctor.treatment import baseline
from tests.cli.running import Command
from tests.treatment.recorded import sick_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sick_run(tmp_path_factory.mktemp("recorded") / "run", epochs=2)


def test_it_says_what_it_runs_and_what_labels_alone_reach(kddoctor: Command, run: Path, tmp_path: Path) -> None:
    answer = kddoctor("baseline", run, "--output", tmp_path / "new")
    assert answer.code == 0, answer.err
    assert "importing and running the code that" in answer.err
    assert "epoch 2 of 2" in answer.err
    assert "Trained the labels-only student: 2 epochs, seed 0" in answer.out
    assert "labels only" in answer.out
    again = kddoctor("diagnose", tmp_path / "new")
    assert "labels only" in again.out
    refused = kddoctor("baseline", tmp_path / "new")
    assert (refused.code, refused.out) == (2, "")
    assert "--overwrite" in refused.err


def test_an_interruption_says_how_to_go_on(kddoctor: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(baseline, "train_baseline", interrupted)
        answer = kddoctor("baseline", run, "--as-teacher", "--output", "my new", "--epochs", "9")
    assert answer.code == 130
    advised = answer.err.strip().partition("go on with: kddoctor ")[2]
    assert shlex.split(advised) == [
        *("baseline", str(run), "--output", "my new", "--as-teacher", "--epochs", "9", "--resume")
    ]


def test_what_is_no_run_is_refused_in_one_line(kddoctor: Command, tmp_path: Path) -> None:
    answer = kddoctor("baseline", tmp_path / "nowhere")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
