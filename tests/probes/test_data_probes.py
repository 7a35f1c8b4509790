"""The probes about data and deployment against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.class_recall import ClassRecallProbe
from kddoctor.probes.label_doubt import LabelDoubtProbe
from kddoctor.probes.row_overlap import equal_rows, near_rows
from kddoctor.probes.threshold_shift import threshold_shift
from kddoctor.probes.two_samples import area_error, two_samples
from kddoctor.probes.value_grid import value_grid

RNG = np.random.default_rng(0)


def test_equal_rows_are_counted_once_each():
    found = equal_rows(np.array([1, 2, 2, 3]), np.array([2, 2, 5, 6, 7]))
    assert (found.shared, found.distinct, found.repeated, found.share) == (2, 3, 0.5, 0.4)


def test_near_rows_are_those_within_a_quarter_of_the_usual_distance():
    train = 10.0 * np.arange(20)[:, None]
    found = near_rows(train, np.array([[1.0], [3.0], [55.0]]))
    assert found is not None
    assert (found.near, found.expected) == (1, 0.0)


def test_a_long_row_keeps_its_copies_near_after_projection():
    train = RNG.normal(size=(50, 3000))
    found = near_rows(train, np.concatenate([train[:7] + 0.01, RNG.normal(size=(20, 3000))]))
    assert found is not None
    assert found.near == 7


def test_tokens_in_another_order_are_a_copy():
    train = RNG.integers(5000, size=(40, 12))
    found = near_rows(train, np.concatenate([train[:3, ::-1], RNG.integers(5000, size=(20, 12))]))
    assert found is not None
    assert found.near == 3


def test_one_source_cannot_be_told_apart_and_two_can():
    same = two_samples("rows", RNG.normal(size=(300, 5)), RNG.normal(size=(300, 5)))
    other = two_samples("rows", RNG.normal(size=(300, 5)), RNG.normal(size=(300, 5)) + 2)
    assert same is not None
    assert other is not None
    assert abs(same.auc - 0.5) < 4 * same.standard_error
    assert other.auc > 0.95


def test_copies_of_rows_do_not_tell_splits_apart():
    few = RNG.normal(size=(25, 30))
    found = two_samples("rows", few[np.arange(500) % 25], RNG.normal(size=(500, 30)))
    assert found is not None
    assert abs(found.auc - 0.5) < 4 * found.standard_error


def test_the_error_of_an_area_of_one_half_is_that_of_the_rank_sum_test():
    assert area_error(0.5, 40, 60) == pytest.approx(np.sqrt((40 + 60 + 1) / (12 * 40 * 60)))


def test_doubts_are_counted_where_the_teacher_is_surest():
    labels = np.zeros(200, np.int64)
    teacher = np.zeros((200, 3))
    teacher[:100, 0] = 8.0  # sure
    teacher[100:, 0] = 1.0
    teacher[:10] = [0.0, 8.0, 0.0]  # sure, and against the label
    student = teacher.copy()
    student[:5] = [0.0, 0.0, 8.0]
    halves = [LabelDoubtProbe(3) for _ in range(2)]
    for probe, rows in zip(halves, (slice(0, 90), slice(90, 200)), strict=True):
        probe.update(teacher[rows], student[rows], labels[rows])
    halves[0].merge(halves[1])
    found = halves[0].compute()
    stated = 2 / (2 + np.exp(8))
    assert (found.n, found.sure_n, found.doubted) == (200, 100, 0.05)
    assert (found.sure_doubted, found.sure_agreed) == (0.1, 0.05)
    assert found.sure_stated == pytest.approx(stated)


def test_recall_counts_discordant_rows_by_class():
    labels = np.array([0, 0, 1, 1, 1])
    right = np.eye(2)[labels]
    student, baseline = right.copy(), right.copy()
    student[0] = [0, 1]
    baseline[3:] = [1, 0]
    probe = ClassRecallProbe(2)
    probe.update(right, student, labels, baseline)
    found = probe.compute()
    assert found.rows.tolist() == [2, 3]
    assert found.student.tolist() == [1, 3]
    assert found.student_only is not None
    assert found.baseline_only is not None
    assert (found.student_only.tolist(), found.baseline_only.tolist()) == ([0, 2], [1, 0])


def test_the_shift_makes_the_mean_probability_the_base_rate():
    z = RNG.normal(scale=2, size=4000)
    labels = (RNG.random(4000) < 1 / (1 + np.exp(-z))).astype(np.int64)
    found = threshold_shift(z + 1.5, labels)
    assert found is not None
    assert np.mean(1 / (1 + np.exp(-(z + 1.5 - found.shift)))) == pytest.approx(labels.mean(), abs=1e-9)
    assert found.shift == pytest.approx(1.5, abs=0.2)
    assert found.shifted_accuracy - found.accuracy == pytest.approx((found.gained - found.lost) / 4000)


def test_labels_of_one_kind_have_no_threshold():
    assert threshold_shift(np.zeros(4), np.ones(4, np.int64)) is None


def test_a_grid_is_found_and_floats_are_none():
    z = RNG.normal(size=5000).astype(np.float32)
    grid = value_grid((np.round(z * 16).clip(-40, 40) / 16).astype(np.float32))
    assert grid.step == pytest.approx(1 / 16)
    assert grid.distinct <= 81
    assert value_grid(z).step is None


def test_half_precision_is_no_grid():
    values = RNG.normal(size=5000).astype(np.float16).astype(np.float32)
    assert value_grid(values).step is None
