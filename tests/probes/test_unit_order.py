"""Units that were made to follow others in their places are told from those of two networks, and from a map's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kddoctor.probes.unit_order import WAYS, unit_order

ROWS, WIDE, NARROW = 200, 60, 24
#: Means of neighbours and values between them are nearly the same.
ALIKE = {"pooled": ["interpolated"], "interpolated": ["pooled"]}
RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(ROWS, 10))
TEACHER = np.maximum(HIDDEN @ RNG.normal(size=(10, WIDE)), 0)
STUDENT = np.maximum(HIDDEN @ RNG.normal(size=(10, NARROW)), 0)


@pytest.mark.parametrize("way", ["pooled", "interpolated", "nearest"])
def test_each_way_is_the_framework_s_own(way: str) -> None:
    rows = torch.from_numpy(TEACHER)
    own = {
        "pooled": lambda: F.adaptive_avg_pool1d(rows, NARROW),
        "interpolated": lambda: F.interpolate(rows[:, None], NARROW, mode="linear")[:, 0],
        "nearest": lambda: F.interpolate(rows[:, None], NARROW, mode="nearest")[:, 0],
    }[way]()
    np.testing.assert_allclose(WAYS[way](TEACHER, NARROW), own.numpy(), atol=1e-12)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_student_that_follows_in_places_is_found(way: str) -> None:
    order = unit_order({"last": TEACHER}, {"hidden": WAYS[way](TEACHER, NARROW) + 0.5 * STUDENT})
    assert order is not None
    assert order.resized in {way, *ALIKE.get(way, ())}
    assert order.beyond_chance > 0.5 > 6 * order.spread
    wide = unit_order({"last": WAYS[way](STUDENT, 12)}, {"hidden": STUDENT})
    assert wide is not None
    assert wide.beyond_chance > 0.5


def test_networks_of_their_own_and_maps_leave_no_order() -> None:
    mapped = HIDDEN @ RNG.normal(size=(10, NARROW))
    for units in (STUDENT, mapped, TEACHER[:, RNG.permutation(WIDE)[:NARROW]]):
        order = unit_order({"last": TEACHER}, {"hidden": units})
        assert order is not None
        assert order.beyond_chance < 0.25


def test_dead_units_count_on_neither_side() -> None:
    student = WAYS["cut"](TEACHER, NARROW).copy()
    student[:, 5:] = 1.0
    order = unit_order({"last": TEACHER}, {"hidden": student})
    assert order is not None
    assert order.units == 5
    assert order.together == pytest.approx(1.0)
    student[:, 2:] = 1.0
    assert unit_order({"last": TEACHER}, {"hidden": student}) is None


def test_what_cannot_be_compared_is_left_out() -> None:
    assert unit_order({"last": TEACHER}, {"hidden": STUDENT[:100]}) is None
    assert unit_order({"last": TEACHER[:10]}, {"hidden": STUDENT[:10]}) is None
    assert unit_order({"last": np.full_like(TEACHER, np.nan)}, {"hidden": STUDENT}) is None
    assert unit_order({}, {"hidden": STUDENT}) is None


def test_positions_are_rows_and_places_of_large_maps_are_averaged() -> None:
    sequences = TEACHER.reshape(20, 10, WIDE)
    order = unit_order({"last": sequences}, {"hidden": WAYS["pooled"](TEACHER, NARROW).reshape(20, 10, NARROW)})
    assert order is not None
    assert order.together == pytest.approx(1.0)
    maps = TEACHER[:, :, None, None] + 0.01 * RNG.normal(size=(ROWS, WIDE, 8, 8))
    order = unit_order({"map": maps}, {"hidden": WAYS["nearest"](TEACHER, NARROW)})
    assert order is not None
    assert order.together > 0.95
