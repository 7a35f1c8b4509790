"""All models on training and on held-out rows, and what that says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kddoctor.engine.measuring import measure
from kddoctor.report.views import Missing, View, capacity_or_training
from kddoctor.run import load
from tests.builders import forgetting, recorded_run


def seen(folder: Path, **changes: Any) -> View | Missing:
    return capacity_or_training(measure(load(recorded_run(folder / "run", steps=0, **changes))))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"student": forgetting(0.3), "train_student": forgetting(0.0)}, "on held-out rows alone"),
        ({"student": forgetting(0.4), "baseline": forgetting(0.1)}, "not its size alone"),
        ({"student": forgetting(0.4), "baseline": forgetting(0.4, seed=6)}, "for its size"),
        ({"student": forgetting(0.4)}, "did not learn its training rows"),
    ],
)
def test_the_answer_follows_the_training_rows(tmp_path, changes, words):
    view = seen(tmp_path, **changes)
    assert isinstance(view, View)
    assert words in view.answer


def test_the_numbers_of_the_answer_are_those_of_the_table(tmp_path):
    view = seen(tmp_path, student=forgetting(0.4), baseline=forgetting(0.1))
    assert isinstance(view, View)
    table = view.frame.set_index(["split", "model"])["accuracy"]
    for model in ("student", "teacher", "labels only"):
        assert f"{table['train', model]:.1%}" in view.answer
        assert view.marks[f"held_out_{model.replace(' ', '_')}"] == table["held out", model]
    assert len(view.frame) == 6


def test_a_twin_would_make_it_firmer_and_that_is_said(tmp_path):
    view = seen(tmp_path, student=forgetting(0.4))
    assert isinstance(view, View)
    assert any("kddoctor baseline" in note for note in view.notes)


def test_without_training_rows_it_says_what_to_record(tmp_path):
    run = recorded_run(tmp_path / "run", steps=0)
    (run / "predictions" / "train.safetensors").unlink()
    found = capacity_or_training(measure(load(run)))
    assert isinstance(found, Missing)
    assert "train_data=" in found.needs
