"""Outputs are found where they belong, also when every row has one number only."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.row_pairing import pair_outputs

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [1, 2, 10, 100])
def test_the_same_outputs_are_in_place(classes: int) -> None:
    own = RNG.normal(size=(500, classes)).astype(np.float32)
    assert pair_outputs(own * np.float32(1 + 1e-7), own) == (1.0, 0.0)


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_shuffled_outputs_are_found_elsewhere(classes: int) -> None:
    own = RNG.normal(size=(500, classes)).astype(np.float32)
    used = own.copy()
    used[:200] = own[:200][RNG.permutation(200)]
    in_place, elsewhere = pair_outputs(used, own)
    assert in_place == pytest.approx(0.6, abs=0.02)
    assert elsewhere == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("classes", [1, 10])
def test_outputs_of_another_view_of_the_rows_are_nowhere(classes: int) -> None:
    own = RNG.normal(size=(2000, classes)).astype(np.float32)
    used = own + RNG.normal(scale=0.3, size=own.shape).astype(np.float32)
    in_place, elsewhere = pair_outputs(used, own)
    assert in_place < 0.02
    assert elsewhere < 0.05


def test_confident_answers_of_one_class_are_not_taken_for_one_another() -> None:
    labels = RNG.integers(10, size=2000)
    own = 20 * np.eye(10)[labels] + RNG.normal(scale=1.0, size=(2000, 10))
    used = 20 * np.eye(10)[labels] + RNG.normal(scale=1.0, size=(2000, 10))
    assert pair_outputs(used, own)[1] < 0.05
