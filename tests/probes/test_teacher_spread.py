"""The size of the teacher's logits along the way: one teacher keeps it, whatever rows the steps draw."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.teacher_spread import TeacherSpread, TeacherSpreadProbe

RNG = np.random.default_rng(0)


def along(*sizes: float, classes: int = 10) -> TeacherSpread:
    probe = TeacherSpreadProbe()
    for step, size in reversed(list(enumerate(sizes))):
        probe.update(10 * step, size * RNG.normal(size=(32, classes)) + 5)
    found = probe.compute()
    assert found is not None
    return found


def test_spread_is_around_the_mean_of_a_row_and_steps_come_in_order() -> None:
    found = along(1.0, 2.0, 3.0)
    assert found.step.tolist() == [0, 10, 20]
    assert found.spread == pytest.approx(np.array([1.0, 2.0, 3.0]) * np.sqrt(0.9), rel=0.1)


def test_single_logits_spread_around_zero() -> None:
    probe = TeacherSpreadProbe()
    probe.update(0, np.array([[3.0], [-4.0]]))
    found = probe.compute()
    assert found is not None
    assert found.spread[0] == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize(
    ("sizes", "apart"),
    [((4, 1, 1, 2), 2.0), ((1, 3, 4, 5), 3.0), ((1, 0.5, 2, 1), 1.0), ((1, 1, 1, 1), 1.0)],
    ids=["all smaller", "all larger", "on both sides", "the same"],
)
def test_the_nearest_of_the_later_steps_counts(sizes: tuple[float, ...], apart: float) -> None:
    assert along(*sizes).apart == pytest.approx(apart, rel=0.2)


def test_steps_without_numbers_are_passed_over() -> None:
    probe = TeacherSpreadProbe()
    probe.update(0, np.full((4, 3), np.nan))
    probe.update(1, np.zeros((0, 3)))
    assert probe.compute() is None
    other = TeacherSpreadProbe()
    other.update(2, np.eye(3))
    probe.merge(other)
    assert probe.compute() is not None
