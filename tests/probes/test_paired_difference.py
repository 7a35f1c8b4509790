"""Two models on the same rows: against scipy, and by how often the interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kddoctor.probes.paired_difference import paired_difference


def answers(rng, rows, fixed, broken):
    before, after = np.ones(rows), np.ones(rows)
    which = rng.random(rows)
    before[which < fixed] = 0
    after[(which >= fixed) & (which < fixed + broken)] = 0
    return before, after


def test_numbers_get_students_test_and_interval():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=50), rng.normal(0.4, size=50)
    found, expected = paired_difference(before, after), stats.ttest_rel(after, before)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.change == pytest.approx((after - before).mean())


def test_answers_get_mcnemars_exact_test():
    before, after = np.repeat([0, 1, 1, 0], [9, 2, 80, 9]), np.repeat([1, 0, 1, 0], [9, 2, 80, 9])
    found = paired_difference(before, after)
    assert found.p_value == pytest.approx(stats.binomtest(9, 11).pvalue)
    assert found.change == pytest.approx(0.07)
    assert found.low < 0.07 < found.high


@pytest.mark.parametrize(("fixed", "broken"), [(0.05, 0.05), (0.08, 0.02), (0.01, 0.0)])
def test_the_interval_holds_the_truth_as_often_as_it_says(fixed, broken):
    rng = np.random.default_rng(1)
    found = [paired_difference(*answers(rng, 200, fixed, broken)) for _ in range(2000)]
    share = np.mean([f.low <= fixed - broken <= f.high for f in found])
    assert share >= 0.93


def test_no_change_is_an_interval_round_zero_and_no_evidence():
    found = paired_difference(np.ones(100), np.ones(100))
    assert found.low < 0 < found.high
    assert found.p_value == 1


def test_every_row_changed_alike():
    found = paired_difference(np.full(5, 0.25), np.full(5, 0.5))
    assert (found.change, found.low, found.high, found.p_value) == (0.25, 0.25, 0.25, 0.0)


@pytest.mark.parametrize(("before", "after"), [([], []), ([1], [1, 0]), ([[1]], [[1]])])
def test_rows_that_do_not_pair_are_refused(before, after):
    with pytest.raises(ValueError, match="same rows"):
        paired_difference(before, after)
