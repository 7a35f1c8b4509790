"""A weight that moves is recovered step by step from losses, and noise is no schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from kddoctor.probes.loss_schedule import LossSchedule, find_schedule

ALPHA, K = 0.9, 24
RNG = np.random.default_rng(0)
CE, KD = 0.4 + RNG.random(K), 2.0 + RNG.random(K)
DONE = np.linspace(0, 1, K)


def found(total: np.ndarray, kd: np.ndarray | None = KD, balance: float | None = None) -> LossSchedule | None:
    return find_schedule(np.arange(K) * 10, total, CE, kd, KD, ALPHA, balance=balance)


def ramp(done: float) -> float:
    return math.exp(-5 * (1 - 0.5 * done) ** 2)


@pytest.mark.parametrize(
    "course",
    [ramp, lambda x: 0.01 + x, lambda x: 0.97 ** (100 * x), lambda x: float(x > 0.8), lambda x: 1 + math.sin(3 * x)],
    ids=["sigmoid ramp", "line", "decay", "switched on late", "up and down"],
)
@pytest.mark.parametrize("kd", [KD, None], ids=["terms recorded", "total only"])
def test_the_weight_of_each_step_is_recovered(course: Callable[[float], float], kd):
    weights = np.array([course(x) for x in DONE])
    schedule = found((1 - ALPHA) * CE + ALPHA * weights * KD, kd)
    assert schedule is not None
    assert schedule.what == "weight"
    np.testing.assert_allclose(schedule.strength, weights, atol=1e-9)


def test_a_ramp_inside_the_term_is_told_from_one_in_its_weight():
    inside = np.array([ramp(x) for x in DONE]) * KD
    schedule = found((1 - ALPHA) * CE + ALPHA * inside, inside, balance=1.0)
    assert schedule is not None
    assert schedule.what == "factor inside the term"
    assert schedule.mean == pytest.approx(np.mean([ramp(x) for x in DONE]))


def test_a_weight_on_the_labels_counts_against_them():
    schedule = found((1 - ALPHA) * (1 + 20 * DONE) * CE + ALPHA * KD)
    assert schedule is not None
    assert schedule.what == "weight of the labels"
    assert schedule.last == pytest.approx(1 / 21)


@pytest.mark.parametrize(
    "total",
    [CE + RNG.random(K), KD * CE, (1 - ALPHA) * CE + ALPHA * KD],
    ids=["something else", "a product", "the declared weights"],
)
def test_what_does_not_move_steadily_is_no_schedule(total):
    assert found(total) is None
