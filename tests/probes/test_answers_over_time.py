"""Rows are found again by their teacher's outputs, and the student's answers to them compared."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.answers_over_time import FinalAnswers, StepAnswers, answers_over_time
from kddoctor.probes.value_grid import linear_weights, value_grid

RNG = np.random.default_rng(0)
TEACHER, LABELS = RNG.normal(size=(200, 10)), RNG.integers(10, size=200)
FIRST, LAST = RNG.normal(size=(200, 10)), 3 * RNG.normal(size=(200, 10))


def _steps(count: int = 8) -> list[StepAnswers]:
    found = []
    for share in np.linspace(0, 1, count):
        rows = RNG.permutation(200)[:20]
        student = (1 - share) * FIRST + share * LAST
        found.append(StepAnswers(TEACHER[rows], student[rows], LABELS[rows]))
    return found


def test_the_last_step_is_nearest_to_a_student_that_was_kept():
    found = answers_over_time(_steps(), FinalAnswers(TEACHER, LAST, LABELS))
    assert found is not None
    assert found.distance.argmin() == 7
    assert found.distance[-1] == pytest.approx(0, abs=1e-6)


def test_the_first_step_is_nearest_to_a_student_that_was_never_trained():
    found = answers_over_time(_steps(), FinalAnswers(TEACHER, FIRST, LABELS))
    assert found is not None
    assert (found.distance.argmin(), found.shape.argmin()) == (0, 0)


def test_a_lost_bias_is_the_same_change_for_every_row():
    found = answers_over_time(_steps(), FinalAnswers(TEACHER, LAST + np.arange(10), LABELS))
    assert found is not None
    assert found.offset == pytest.approx(1, abs=1e-6)


def test_outputs_of_another_teacher_match_no_row():
    assert answers_over_time(_steps(), FinalAnswers(TEACHER + 1 * FIRST, LAST, LABELS)) is None


@pytest.mark.parametrize("levels", [3, 15])
def test_rounded_weights_are_recovered_from_inputs_and_outputs(levels):
    inputs = np.maximum(RNG.normal(size=(256, 20)), 0).astype(np.float32)
    inputs[:, 5] = inputs[:, 4]  # units that rounding made equal
    weights = RNG.integers(levels, size=(20, 10)) - levels // 2
    found = linear_weights(inputs, (inputs @ weights + 0.123).astype(np.float32))
    assert found is not None
    assert value_grid(found).distinct == levels


def test_outputs_of_another_layer_have_no_weights():
    inputs = RNG.normal(size=(256, 20)).astype(np.float32)
    assert linear_weights(inputs, np.tanh(inputs[:, :10])) is None
