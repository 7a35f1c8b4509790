"""Where a finding points: the line of the key that it names, in whatever style the file is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from kddoctor.report.place import place_of

BLOCK = "# a run\ntask: binary\ndistillation:\n  loss: kl\n  temperature: 4.0\ntraining: {epochs: 3, seed: 0}\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "kd_run.yaml").write_text(BLOCK)
    return tmp_path


@pytest.mark.parametrize(
    ("where", "line", "column"),
    [
        ("kd_run.yaml: distillation.temperature", 5, 3),
        ("kd_run.yaml: training.seed, training.epochs", 6, 23),
        ("the student's dropout, or kd_run.yaml: training.epochs", 6, 12),
        ("kd_run.yaml: distillation.alpha over time", 3, 1),
        ("kd_run.yaml: targets", 1, 1),
        ("the training loop: dim of the softmax", 1, 1),
        (None, 1, 1),
    ],
)
def test_a_place_is_the_line_of_the_key_or_of_its_section(run, where, line, column):
    position = place_of(where, run).position
    assert (position.line, position.column) == (line, column)


def test_paths_are_relative_to_the_working_directory_and_escaped_as_uris(run, monkeypatch):
    (run / "my runs").mkdir()
    (run / "my runs" / "kd_run.yaml").write_text(BLOCK)
    monkeypatch.chdir(run)
    place = place_of(None, run / "my runs")
    assert (place.path, place.uri) == ("my runs/kd_run.yaml", "my%20runs/kd_run.yaml")


def test_a_run_outside_the_working_directory_is_named_by_its_file_alone(run, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert place_of(None, run).path == "kd_run.yaml"
