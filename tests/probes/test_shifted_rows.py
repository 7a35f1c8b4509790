"""Of all shifts of a model's answers, the one that fits the labels best is found and counted as by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.shifted_rows import shifted_rows


def answers(labels: np.ndarray, right: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < right, labels, rng.integers(0, 5, len(labels)))


@pytest.mark.parametrize("places", [-3, -1, 1, 40])
def test_answers_that_were_moved_are_moved_back(places: int) -> None:
    labels = np.random.default_rng(1).integers(0, 5, 800)
    said = answers(labels, 0.7)
    found = shifted_rows(np.roll(said, -places), labels)
    assert found is not None
    assert found.shift == places
    assert found.shifted == pytest.approx((said == labels).mean())
    assert found.plain == pytest.approx((np.roll(said, -places) == labels).mean())
    assert found.second < found.shifted - 0.2


def test_every_shift_is_counted_as_by_hand() -> None:
    rng = np.random.default_rng(2)
    labels, said = rng.integers(0, 4, 37), rng.integers(0, 4, 37)
    by_hand = sorted(float((np.roll(said, k) == labels).mean()) for k in range(1, 37))
    found = shifted_rows(said, labels)
    assert found is not None
    assert (found.second, found.shifted) == pytest.approx(tuple(by_hand[-2:]))
    assert found.plain == pytest.approx(float((said == labels).mean()))


def test_rows_that_come_in_turn_fit_after_many_shifts() -> None:
    labels = np.arange(600) % 5
    found = shifted_rows((labels + 1) % 5, labels)
    assert found is not None
    assert found.shifted == found.second == 1.0


def test_two_rows_have_no_shift_to_compare() -> None:
    assert shifted_rows(np.array([0, 1]), np.array([0, 1])) is None
