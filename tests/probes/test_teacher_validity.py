import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from kddoctor.probes.teacher_validity import TeacherValidity, TeacherValidityProbe
from tests.probes.comparing import assert_same, in_chunks, merged
from tests.probes.naive import entropies


def teacher(n: int, classes: int, seed: int, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right more often than not, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * scale
    logits[np.arange(n), labels] += scale
    return logits, labels


def measured(logits: np.ndarray, labels: np.ndarray) -> TeacherValidity:
    probe = TeacherValidityProbe(logits.shape[1])
    probe.update(logits, labels)
    return probe.compute()


sizes = st.tuples(st.integers(1, 60), st.integers(2, 9), st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 30.0]))


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_it_agrees_with_scikit_learn_and_with_closed_forms(size):
    n, classes, _, _ = size
    logits, labels = teacher(*size)
    found = measured(logits, labels)
    p = softmax(logits, axis=1)
    ratios = entropies(logits, 1.0) / np.log(classes)
    prior = np.bincount(labels, minlength=classes) / n
    predicted = np.bincount(logits.argmax(axis=1), minlength=classes) / n
    clipped = np.maximum(p, 1e-300)
    assert found.n == n
    assert found.accuracy == pytest.approx(accuracy_score(labels, logits.argmax(axis=1)))
    # log_loss clips probabilities at the precision of its type; the formula does not.
    assert found.nll == pytest.approx(-np.log(clipped[np.arange(n), labels]).mean(), rel=1e-9, abs=1e-12)
    assert found.chance == pytest.approx((prior**2).sum())
    assert found.majority == prior.max()
    np.testing.assert_allclose(found.label_prior, prior)
    np.testing.assert_allclose(found.prediction_histogram, predicted)
    assert found.histogram_l1 == pytest.approx(np.abs(prior - predicted).sum())
    assert found.entropy_ratio_mean == pytest.approx(ratios.mean(), abs=1e-9)
    assert found.entropy_ratio_median == pytest.approx(np.median(ratios), abs=1 / 2048)
    assert found.top1_mean == pytest.approx(p.max(axis=1).mean())
    assert found.top1_median == pytest.approx(np.median(p.max(axis=1)), abs=1 / 2048)
    np.testing.assert_array_equal(
        found.confusion, confusion_matrix(logits.argmax(axis=1), labels, labels=range(classes))
    )


def test_nll_is_the_log_loss_of_scikit_learn():
    logits, labels = teacher(300, 7, seed=3, scale=1.0)
    assert measured(logits, labels).nll == pytest.approx(log_loss(labels, softmax(logits, axis=1)))


def test_calibration_error_is_the_sum_over_fifteen_bins_of_equal_width():
    logits, labels = teacher(400, 5, seed=1, scale=1.5)
    confidence, right = softmax(logits, axis=1).max(axis=1), logits.argmax(axis=1) == labels
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert measured(logits, labels).ece == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(sizes)
def test_matching_is_optimal_and_one_to_one(size):
    logits, labels = teacher(*size)
    found = measured(logits, labels)
    rows, columns = linear_sum_assignment(found.confusion, maximize=True)
    assert found.hungarian_accuracy == pytest.approx(found.confusion[rows, columns].sum() / found.n)
    assert sorted(found.hungarian_permutation) == list(range(size[1]))


def test_a_permuted_teacher_is_put_right_and_the_permutation_named():
    logits, labels = teacher(600, 6, seed=2, scale=6.0)
    order = np.array([3, 0, 4, 5, 1, 2])  # column c of the teacher means class order[c]
    found = measured(logits[:, order], labels)
    assert found.hungarian_permutation.tolist() == order.tolist()
    assert found.hungarian_accuracy == pytest.approx(measured(logits, labels).accuracy)
    assert found.permutation_stability == 1.0


def test_classes_that_never_occur_stay_where_they_are():
    logits, labels = teacher(200, 6, seed=4, scale=20.0)
    kept = labels < 3
    logits, labels = logits[kept], labels[kept]
    logits[:, 3:] = -1e3
    found = measured(logits[:, [1, 0, 2, 3, 4, 5]], labels)
    assert found.hungarian_permutation.tolist() == [1, 0, 2, 3, 4, 5]


def test_a_random_teacher_has_an_unstable_matching_and_a_permuted_one_has_not():
    rng = np.random.default_rng(5)
    found = measured(rng.normal(size=(2000, 40)), rng.integers(0, 40, 2000))
    assert found.permutation_stability < 0.3
    assert found.matched_concentration < 0.3


@settings(max_examples=30, deadline=None)
@given(sizes, st.lists(st.integers(0, 60), max_size=4))
def test_chunks_and_workers_make_no_difference(size, cuts):
    logits, labels = teacher(*size)
    arrays, make = (logits, labels), lambda: TeacherValidityProbe(size[1])
    whole = measured(logits, labels)
    assert_same(in_chunks(make, arrays, cuts).compute(), whole)
    assert_same(merged(make, arrays, cuts).compute(), whole)


def test_computing_twice_gives_the_same_and_more_rows_may_follow():
    logits, labels = teacher(50, 4, seed=0)
    probe = TeacherValidityProbe(4)
    probe.update(logits[:20], labels[:20])
    assert_same(probe.compute(), probe.compute())
    probe.update(logits[20:], labels[20:])
    assert_same(probe.compute(), measured(logits, labels))


def test_rows_labelled_minus_100_count_for_nothing():
    logits, labels = teacher(30, 4, seed=0)
    ignored = labels.copy()
    ignored[::3] = -100
    assert_same(measured(logits, ignored), measured(logits[ignored >= 0], labels[ignored >= 0]))


@pytest.mark.parametrize("label", [-1, 4, 7])
def test_a_label_out_of_range_is_refused_and_named(label):
    logits, labels = teacher(5, 4, seed=0)
    labels[2] = label
    with pytest.raises(ValueError, match=rf"label {label} in row 2"):
        measured(logits, labels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_huge_logits_give_no_infinity(dtype):
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype=dtype)
    found = measured(logits, np.array([0, 0]))
    assert (found.accuracy, found.nll, found.entropy_ratio_mean) == (0.5, 1e4, 0.0)


def test_a_single_row_is_enough_but_has_no_halves_to_compare():
    found = measured(np.array([[0.0, 1.0]]), np.array([1]))
    assert (found.accuracy, found.permutation_stability) == (1.0, None)


def test_no_row_is_an_error_that_says_so():
    probe = TeacherValidityProbe(3)
    probe.update(np.zeros((0, 3)), np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="no labelled row"):
        probe.compute()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_numbers_are_refused(bad):
    logits = np.zeros((2, 3))
    logits[1, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 2 rows"):
        measured(logits, np.zeros(2, dtype=int))


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"teacher_logits is \[2, 4\]; expected \[n, 3\]"):
        TeacherValidityProbe(3).update(np.zeros((2, 4)), np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match="one label per row"):
        TeacherValidityProbe(3).update(np.zeros((2, 3)), np.zeros(3, dtype=int))


def test_above_2000_classes_no_confusion_matrix_is_kept():
    found = measured(np.eye(3, 2001), np.arange(3))
    assert found.accuracy == 1.0
    assert found.confusion is found.hungarian_accuracy is found.permutation_stability is None
