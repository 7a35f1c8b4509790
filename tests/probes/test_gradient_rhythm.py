"""A rhythm in the gradient's norm is found, its length is right, and what comes back once an epoch is none."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.engine.weighing import weigh
from kddoctor.probes.gradient_rhythm import gradient_rhythm
from kddoctor.rules.finding import NotExamined
from kddoctor.rules.registry import all_rules
from kddoctor.run.manifest import manifest_from

STEPS = 400


def falling_norms(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(scale=0.25, size=STEPS)) / (1 + np.arange(STEPS) / 100)


def sums(period: int, index: np.ndarray, common: float = 0.5) -> np.ndarray:
    """How much longer a sum is than its first summand, for gradients that have so much in common."""
    added = index % period + 1.0
    return np.sqrt(added * (1 - common) + common * added**2)


def sureness(norms: np.ndarray, per_epoch: int = 37, stride: int = 1) -> float:
    steps = np.arange(STEPS)[::stride]
    rhythm = gradient_rhythm(steps.tolist(), norms[::stride].tolist(), per_epoch)
    rule = all_rules()["KD212"]
    found = rule({type(m): m for m in (rhythm, manifest_from({"task": "binary"})) if m is not None})
    return 0.0 if isinstance(found, NotExamined) else weigh(rule, found).confidence


@pytest.mark.parametrize("period", [3, 4, 8, 16])
def test_gradients_that_are_added_up_over_micro_batches_are_a_fault(period):
    norms = falling_norms() * sums(period, np.arange(STEPS))
    rhythm = gradient_rhythm(range(STEPS), norms.tolist(), 37)
    assert rhythm is not None
    assert rhythm.period == period
    assert sureness(norms) > 0.9


def test_a_rhythm_that_starts_with_each_epoch_is_found():
    norms = falling_norms() * sums(4, np.arange(STEPS) % 37)
    rhythm = gradient_rhythm(range(STEPS), norms.tolist(), 37)
    assert rhythm is not None
    assert (rhythm.period, rhythm.within_epochs) == (4, True)


def test_a_rhythm_is_seen_in_every_other_step():
    assert sureness(falling_norms() * sums(4, np.arange(STEPS), 0.9), stride=2) > 0.9


@pytest.mark.parametrize(
    "times",
    [
        np.ones(STEPS),
        np.where(np.arange(STEPS) % 37 == 36, 3.0, 1.0),
        sums(37, np.arange(STEPS)),
        np.where(np.arange(STEPS) % 5 == 0, 1.5, 1.0),
    ],
    ids=["no rhythm", "a small last batch", "once an epoch", "one step in five is longer"],
)
def test_other_rhythms_are_no_fault(times):
    assert sureness(falling_norms() * times) < 0.1


def test_few_norms_say_nothing():
    assert gradient_rhythm(range(20), [1.0] * 20, 7) is None
