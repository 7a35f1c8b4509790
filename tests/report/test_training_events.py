"""What is marked on the curves of a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from kddoctor.report.views import View, training_curves
from kddoctor.report.views.training_events import MOST, training_events
from kddoctor.run import Run, load
from tests.builders import recorded_run


def logged(folder: Path, rows: list[dict[str, Any]], **more: Any) -> Run:
    """A run with these metrics."""
    return load(recorded_run(folder / "run", rows=60, steps=0, metrics=rows, **more))


def rates(*values: float) -> list[dict[str, Any]]:
    return [{"step": step, "lr": value, "loss": 1.0} for step, value in enumerate(values)]


def told(run: Run) -> list[tuple[float, str, str]]:
    return [tuple(event) for event in training_events(run)]


def test_a_loss_that_breaks_and_stays_broken_is_one_event(tmp_path):
    rows = [{"step": step, "loss": 1.0 if step < 5 else math.nan} for step in range(9)]
    assert told(logged(tmp_path, rows)) == [(5.0, "not finite", "loss not finite and from then on")]


def test_a_loss_that_recovers_is_told_with_the_steps_it_was_gone(tmp_path):
    rows = [{"step": step, "loss": math.inf if step in (3, 4) else 1.0} for step in range(9)]
    assert told(logged(tmp_path, rows)) == [(3.0, "not finite", "loss not finite to step 4")]


def test_steps_that_only_the_recorder_saw_break_are_told_too(tmp_path):
    rows = [{"step": step, "loss": 1.0} for step in (0, 10, 20)]
    run = logged(tmp_path, rows, observations={"nonfinite_steps": [7]})
    assert told(run) == [(7.0, "not finite", "loss not finite")]


def test_a_jump_is_three_times_the_largest_of_the_twenty_before(tmp_path):
    rows = [{"step": step, "loss": 1.0} for step in range(30)]
    rows[15]["loss"], rows[20]["loss"] = 2.9, 9.0
    assert told(logged(tmp_path, rows)) == [(20.0, "jump", "loss jumped to 9")]


def test_drops_of_the_rate_are_marked(tmp_path):
    run = logged(tmp_path, rates(0.1, 0.1, 0.01, 0.01, 0.001))
    assert [step for step, kind, _ in told(run) if kind == "schedule"] == [2.0, 4.0]
    assert told(run)[0][2] == "learning rate from 0.1 to 0.01"


def test_a_smooth_schedule_has_no_marks_but_its_restart(tmp_path):
    cosine = [0.05 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
    assert told(logged(tmp_path / "a", rates(*cosine))) == []
    assert [event[0] for event in told(logged(tmp_path / "b", rates(*cosine, *cosine)))] == [20.0]


def test_the_end_of_a_warm_up_is_marked_once(tmp_path):
    run = logged(tmp_path, rates(0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1))
    assert told(run) == [(4.0, "warm-up", "warm-up ended at a learning rate of 0.1")]


def test_a_temperature_that_is_annealed_in_steps_is_marked(tmp_path):
    rows = [{"step": step, "loss": 1.0, "temperature": 8.0 if step < 3 else 2.0} for step in range(6)]
    assert told(logged(tmp_path, rows)) == [(3.0, "schedule", "temperature from 8 to 2")]


def test_of_many_events_the_first_ones_are_told(tmp_path):
    rows = [{"step": step, "loss": math.nan if step % 2 else 1.0} for step in range(200)]
    assert len(told(logged(tmp_path, rows))) == MOST


@pytest.mark.parametrize("rows", [[], [{"step": 0, "lr": 0.1}], [{"lr": math.nan, "step": 1, "loss": 1.0}]])
def test_records_without_events_have_none(tmp_path, rows):
    assert told(logged(tmp_path, rows)) == []


def test_the_curves_say_what_they_mark(tmp_path):
    view = training_curves(logged(tmp_path, rates(0.1, 0.1, 0.01)))
    assert isinstance(view, View)
    assert [event.kind for event in view.events] == ["schedule"]
    assert view.notes[-1] == "Marked: step 2, learning rate from 0.1 to 0.01."
    assert view.alt.endswith("Marks: 1.")
