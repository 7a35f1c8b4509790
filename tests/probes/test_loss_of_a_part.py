"""The factor of a divergence of whole batches, from a part of each batch's rows."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.loss_of_a_part import FEWEST, LossOfAPart, loss_of_a_part

BATCH, CLASSES, SQUARED = 128, 10, 16.0


def batches(steps: int, *, seed: int = 0, rows: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Means over whole batches, and over the first rows of each, of a divergence that falls fivefold."""
    rng = np.random.default_rng(seed)
    falling = np.geomspace(5.0, 1.0, steps)[:, None]
    each = falling * rng.lognormal(0.0, 1.0, (steps, BATCH))
    return each.mean(axis=1), each[:, :rows].mean(axis=1)


def compared(recorded: np.ndarray, declared: np.ndarray, **changes: float) -> LossOfAPart | None:
    settings = {"rows": 32, "batch": BATCH, "classes": CLASSES, "squared": SQUARED} | changes
    return loss_of_a_part(recorded, declared, **settings)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("times", "name"),
    [
        (1.0, "as declared"),
        (1 / CLASSES, "C"),
        (1 / SQUARED, "T²"),
        (1 / (CLASSES * SQUARED), "C and T²"),
        (0.4, None),
        (3.0, None),
    ],
)
def test_the_factor_is_named_from_a_quarter_of_each_batch(times, name, seed):
    whole, part = batches(40, seed=seed)
    found = compared(times * whole, part)
    assert found is not None
    assert found.name == name
    assert found.factor == pytest.approx(times, rel=0.2)
    assert found.as_declared == (name == "as declared")


def test_a_factor_that_moves_has_no_name():
    whole, part = batches(40)
    found = compared(whole * np.geomspace(2.0, 0.5, 40), part)
    assert found is not None
    assert found.first > 1.2
    assert found.second < 0.9
    assert found.name is None


def test_numbers_that_are_too_close_are_not_told_apart():
    whole, part = batches(40)
    found = compared(whole / 16, part, classes=16)
    assert found is not None
    assert found.name is None
    sound = compared(whole, part, classes=16)
    assert sound is not None
    assert sound.as_declared


def test_single_rows_of_each_batch_leave_the_factor_unknown():
    whole, part = batches(FEWEST, rows=1, seed=3)
    found = compared(whole, part, rows=1)
    assert found is None or found.name in (None, "as declared")
    assert found is None or found.error > 0.15 or found.name == "as declared"


def test_the_standard_error_is_that_of_repeated_draws():
    found = [compared(*batches(40, seed=seed)) for seed in range(200)]
    logs = np.log([one.factor for one in found if one is not None])
    stated = np.mean([one.error for one in found if one is not None])
    assert len(logs) == 200
    assert stated == pytest.approx(float(logs.std(ddof=1)), rel=0.25)


def test_few_steps_or_sums_that_are_not_positive_say_nothing():
    whole, part = batches(FEWEST - 1)
    assert compared(whole, part) is None
    whole, part = batches(FEWEST)
    assert compared(-whole, part) is None
    assert compared(np.full(FEWEST, np.nan), part) is None
