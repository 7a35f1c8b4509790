import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy as relative_entropy
from scipy.stats import sem
from sklearn.metrics import recall_score

from kddoctor.probes.example_gaps import ExampleGaps, ExampleGapsProbe
from tests.probes.comparing import assert_same, in_chunks, merged
from tests.probes.naive import kl


def models(n: int, classes: int, seed: int) -> tuple[np.ndarray, ...]:
    """Teacher, student, labels and baseline; the student follows the teacher more than the baseline does."""
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(n, classes)) * 3
    student = teacher * 0.7 + rng.normal(size=(n, classes))
    baseline = teacher * 0.3 + rng.normal(size=(n, classes)) * 2
    labels = np.where(rng.random(n) < 0.8, teacher.argmax(axis=1), rng.integers(0, classes, n))
    return teacher, student, labels, baseline


def measured(*arrays: np.ndarray, temperature: float = 1.0, worst: int = 100) -> ExampleGaps:
    probe = ExampleGapsProbe(arrays[0].shape[1], temperature, worst)
    probe.update(*arrays)
    return probe.compute()


sizes = st.tuples(st.integers(2, 50), st.integers(2, 9), st.integers(0, 10**6))


@settings(max_examples=40, deadline=None)
@given(sizes, st.sampled_from([0.5, 1.0, 4.0]))
def test_divergences_agree_with_scipy(size, temperature):
    teacher, student, labels, baseline = models(*size)
    found = measured(teacher, student, labels, baseline, temperature=temperature)
    p, q, b = (softmax(z / temperature, axis=1) for z in (teacher, student, baseline))
    forward, to_baseline = relative_entropy(p, q, axis=1), relative_entropy(p, b, axis=1)
    assert found.kl_teacher_student == pytest.approx(forward.mean())
    assert found.kl_teacher_student_standard_error == pytest.approx(sem(forward))
    assert found.kl_student_teacher == pytest.approx(relative_entropy(q, p, axis=1).mean())
    assert found.js == pytest.approx((jensenshannon(p, q, axis=1) ** 2).mean())
    assert found.kl_max == pytest.approx(forward.max())
    assert found.kl_max_over_mean == pytest.approx(forward.max() / forward.mean())
    assert found.kl_teacher_baseline == pytest.approx(to_baseline.mean())
    assert found.kl_ratio_to_baseline == pytest.approx(forward.mean() / to_baseline.mean())
    assert found.kl_saved == pytest.approx((to_baseline - forward).mean())
    assert found.kl_saved_standard_error == pytest.approx(sem(to_baseline - forward))


@settings(max_examples=30, deadline=None)
@given(sizes)
def test_who_is_right_is_counted_as_one_would_by_hand(size):
    teacher, student, labels, baseline = models(*size)
    found = measured(teacher, student, labels, baseline)
    t, s, b = (z.argmax(axis=1) == labels for z in (teacher, student, baseline))
    counts = (found.both_right, found.only_teacher, found.only_student, found.neither)
    assert counts == ((t & s).sum(), (t & ~s).sum(), (~t & s).sum(), (~t & ~s).sum())
    assert (found.student_only_right, found.baseline_only_right) == ((s & ~b).sum(), (b & ~s).sum())
    assert found.teacher_accuracy == pytest.approx(t.mean())
    assert found.student_accuracy == pytest.approx(s.mean())
    assert found.baseline_accuracy == pytest.approx(b.mean())
    assert found.agreement == pytest.approx((teacher.argmax(axis=1) == student.argmax(axis=1)).mean())
    assert found.baseline_agreement == pytest.approx((teacher.argmax(axis=1) == baseline.argmax(axis=1)).mean())
    recall = recall_score(labels, student.argmax(axis=1), labels=range(size[1]), average=None, zero_division=np.nan)
    np.testing.assert_allclose(found.student_class_accuracy, recall)
    np.testing.assert_array_equal(found.class_counts, np.bincount(labels, minlength=size[1]))


def test_losses_and_scales_are_taken_at_temperature_one():
    teacher, student, labels, _ = models(40, 6, 0)
    found = measured(teacher, student, labels, temperature=4.0)
    q = softmax(student, axis=1)
    assert found.student_loss == pytest.approx(-np.log(q[np.arange(40), labels]).mean())
    assert found.student_top1_mean == pytest.approx(q.max(axis=1).mean())
    assert found.logit_scale_ratio == pytest.approx(student.std(axis=1).mean() / teacher.std(axis=1).mean())


@settings(max_examples=30, deadline=None)
@given(sizes, st.integers(0, 12))
def test_the_worst_rows_are_those_of_the_largest_divergence(size, worst):
    teacher, student, labels, _ = models(*size)
    found = measured(teacher, student, labels, worst=worst).worst
    expected = np.argsort(-kl(teacher, student, 1.0), kind="stable")[:worst]
    assert [gap.index for gap in found] == expected.tolist()
    for gap in found:
        p, q = softmax(teacher[gap.index]), softmax(student[gap.index])
        assert gap.kl == pytest.approx(relative_entropy(p, q))
        assert (gap.teacher_class, gap.student_class, gap.label) == (
            p.argmax(),
            q.argmax(),
            labels[gap.index],
        )
        assert (gap.teacher_confidence, gap.student_confidence) == pytest.approx((p.max(), q.max()))
        assert gap.student_loss == pytest.approx(-np.log(q[gap.label]))


def test_equal_rows_are_ranked_by_position():
    z = np.tile([[2.0, 0.0]], (9, 1))
    found = measured(z, -z, np.zeros(9, dtype=int), worst=4)
    assert [gap.index for gap in found.worst] == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(sizes, st.lists(st.integers(0, 50), max_size=4), st.booleans())
def test_chunks_and_workers_make_no_difference(size, cuts, with_baseline):
    arrays = models(*size) if with_baseline else models(*size)[:3]
    make = lambda: ExampleGapsProbe(size[1], 2.0, worst=7)  # noqa: E731
    whole = measured(*arrays, temperature=2.0, worst=7)
    assert_same(in_chunks(make, arrays, cuts).compute(), whole)
    assert_same(merged(make, arrays, cuts).compute(), whole)


def test_merging_offsets_positions_by_all_rows_given_even_skipped_ones():
    teacher, student, labels, _ = models(20, 4, 1)
    labels[:10:2] = -100
    make = lambda: ExampleGapsProbe(4)  # noqa: E731
    found = merged(make, (teacher, student, labels), [10]).compute()
    assert {gap.index for gap in found.worst} == set(np.flatnonzero(labels >= 0).tolist())
    assert_same(found, measured(teacher, student, labels))


def test_without_a_baseline_nothing_is_said_about_it():
    found = measured(*models(10, 3, 0)[:3])
    silent = ("baseline_accuracy", "baseline_agreement", "kl_teacher_baseline", "kl_saved", "baseline_loss")
    silent += ("kl_ratio_to_baseline", "student_only_right", "baseline_only_right", "kl_saved_standard_error")
    assert [getattr(found, name) for name in silent] == [None] * len(silent)


def test_a_baseline_for_some_chunks_only_is_refused():
    teacher, student, labels, baseline = models(10, 3, 0)
    probe = ExampleGapsProbe(3)
    probe.update(teacher, student, labels, baseline)
    with pytest.raises(ValueError, match="every chunk or for none"):
        probe.update(teacher, student, labels)


def test_a_student_equal_to_its_teacher_has_no_gap():
    teacher, _, labels, _ = models(10, 3, 0)
    found = measured(teacher, teacher, labels)
    assert (found.kl_teacher_student, found.agreement) == (0.0, 1.0)
    assert found.js == pytest.approx(0.0, abs=1e-15)
    assert (found.kl_max_over_mean, found.logit_scale_ratio) == (None, 1.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_huge_logits_give_finite_divergences(dtype):
    teacher = np.array([[1e4, -1e4, 0.0]], dtype=dtype)
    found = measured(teacher, teacher[:, ::-1], np.array([0]))
    assert found.kl_teacher_student == 1e4
    assert found.js == pytest.approx(np.log(2))


def test_opposite_certainties_reach_the_largest_possible_jensen_shannon():
    found = measured(np.array([[1e4, 0.0]]), np.array([[0.0, 1e4]]), np.array([0]))
    assert found.js == pytest.approx(np.log(2))


def test_a_single_row_has_means_but_no_standard_errors():
    found = measured(*models(1, 4, 0))
    assert found.n == 1
    assert found.kl_teacher_student_standard_error is None


def test_a_missing_class_has_no_accuracy():
    teacher, student, _, _ = models(10, 3, 0)
    found = measured(teacher, student, np.zeros(10, dtype=int))
    assert np.isnan(found.teacher_class_accuracy[1:]).all()


def test_computing_changes_nothing():
    probe = ExampleGapsProbe(4)
    probe.update(*models(9, 4, 0))
    assert_same(probe.compute(), probe.compute(), rtol=0, atol=0)


def test_no_row_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="no labelled row"):
        ExampleGapsProbe(3).compute()


def test_a_students_nan_is_refused_and_attributed():
    teacher, student, labels, _ = models(5, 3, 0)
    student[2, 1] = np.nan
    with pytest.raises(ValueError, match="student_logits holds NaN or infinity in 1 of 5 rows"):
        measured(teacher, student, labels)


def test_unequal_numbers_of_rows_are_refused():
    teacher, student, labels, _ = models(5, 3, 0)
    with pytest.raises(ValueError, match="student_logits has 4 rows but teacher_logits 5"):
        measured(teacher, student[:4], labels)
