"""Retention and its interval: against sklearn, against simulation, and where it cannot be told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kddoctor.probes.paired_retention import retention_of_accuracy, retention_of_auc

ONES = np.ones(500)


def right(share: float, rows: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.random(rows) < share).astype(float)


def pair(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A teacher that is right on 90 % and a student that mostly follows it."""
    teacher = right(0.9, rows, rng)
    return teacher, np.where(teacher == 1, right(0.93, rows, rng), right(0.2, rows, rng))


PAIR_RETENTION = (0.9 * 0.93 + 0.1 * 0.2) / 0.9


def scores(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = rng.random(rows) < 0.3
    teacher = rng.normal(size=rows) + 1.5 * labels
    return labels[:, None], teacher[:, None], (0.6 * teacher + 0.8 * rng.normal(size=rows))[:, None]


@pytest.mark.parametrize("rows", [60, 500])
def test_of_a_hundred_intervals_of_accuracy_ninety_five_hold_the_truth(rows):
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        low, high = retention_of_accuracy(*pair(rows, rng), np.ones(rows)).interval()
        held += low <= PAIR_RETENTION <= high
    assert 0.93 <= held / 1000 <= 0.98


def test_of_a_hundred_intervals_of_the_area_ninety_five_hold_the_truth():
    rng = np.random.default_rng(0)
    labels, teacher, student = scores(300_000, rng)
    truth = roc_auc_score(labels, student) / roc_auc_score(labels, teacher)
    held = 0
    for _ in range(500):
        low, high = retention_of_auc(*scores(250, rng)).interval()
        held += low <= truth <= high
    assert 0.92 <= held / 500 <= 0.98


def test_the_area_is_that_of_sklearn_with_ties_too():
    rng = np.random.default_rng(1)
    labels = rng.random((300, 2)) < 0.4
    teacher, student = rng.integers(0, 5, (300, 2)).astype(float), rng.normal(size=(300, 2))
    found = retention_of_auc(labels, teacher, student)
    assert found.teacher == pytest.approx(np.mean([roc_auc_score(labels[:, c], teacher[:, c]) for c in range(2)]))
    assert found.student == pytest.approx(np.mean([roc_auc_score(labels[:, c], student[:, c]) for c in range(2)]))


def test_pairing_makes_a_student_that_follows_its_teacher_surer_than_one_that_does_not():
    rng = np.random.default_rng(2)
    teacher = right(0.8, 500, rng)
    follows, strays = (
        retention_of_accuracy(teacher, teacher, ONES),
        retention_of_accuracy(teacher, rng.permutation(teacher), ONES),
    )
    assert follows.retention == strays.retention == 1
    assert follows.error_at(1.0) < strays.error_at(1.0) / 3


def test_ten_rows_without_an_error_are_no_certainty():
    low, high = retention_of_accuracy(np.ones(10), np.ones(10), np.ones(10)).interval()
    assert low < 0.9
    assert high > 1.1


def test_rows_of_one_group_count_as_one():
    rng = np.random.default_rng(3)
    labels, teacher, student = scores(200, rng)
    alone = retention_of_auc(labels, teacher, student)
    each = [np.repeat(values, 5, axis=0) for values in (labels, teacher, student)]
    together = retention_of_auc(*each, np.repeat(np.arange(200), 5))
    assert together.clusters == 200
    assert together.error_at(0.9) == pytest.approx(alone.error_at(0.9), rel=0.01)
    assert retention_of_auc(*each).error_at(0.9) < 0.6 * alone.error_at(0.9)


def test_a_teacher_that_is_hardly_ever_right_gives_no_interval():
    teacher = np.zeros(50)
    teacher[0] = 1
    assert retention_of_accuracy(teacher, teacher, np.ones(50)).interval() is None
    assert math.isnan(retention_of_accuracy(np.zeros(50), teacher, np.ones(50)).retention)


def test_labels_with_one_answer_have_no_area():
    assert retention_of_auc(np.ones((5, 1), bool), np.ones((5, 1)), np.ones((5, 1))) is None


def test_as_many_rows_as_are_said_to_tell_do_tell():
    rng = np.random.default_rng(4)
    found = retention_of_accuracy(*pair(200, rng), np.ones(200))
    wanted = found.retention - 0.02
    needed = found.clusters_to_tell(wanted)
    assert needed > 200
    times = math.ceil(needed / 200)
    again = retention_of_accuracy(
        *(np.tile(v, times) for v in pair(200, np.random.default_rng(4))), np.ones(200 * times)
    )
    assert again.interval()[0] > wanted
