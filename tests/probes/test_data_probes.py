"""The probes about data and deployment against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

from kddoctor.probes.class_recall import ClassRecallProbe
from kddoctor.probes.label_doubt import LabelDoubtProbe
from kddoctor.probes.row_overlap import equal_rows, near_copies, near_rows
from kddoctor.probes.threshold_shift import threshold_shift
from kddoctor.probes.two_samples import area_error, two_samples
from kddoctor.probes.value_grid import value_grid

RNG = np.random.default_rng(0)


def test_equal_rows_are_counted_once_each():
    found = equal_rows(np.array([1, 2, 2, 3]), np.array([2, 2, 5, 6, 7]))
    assert (found.shared, found.distinct, found.repeated, found.share) == (2, 3, 0.5, 0.4)


def test_sets_that_were_copied_repeat_all_their_rows_alike_and_what_recurs_does_not():
    nothing = equal_rows(np.arange(50), np.arange(50, 80))
    assert (nothing.clumped, nothing.repeated_held_out) == (0.0, 0.0)
    twice = np.repeat(np.arange(300), 2)
    # Where all are there twice, a rate r has r / (1 - exp(-r)) = 2, and r * 2 pairs, not 2.
    assert equal_rows(twice[:400], twice[400:]).clumped == pytest.approx(2 / (1.5936 * 2), rel=1e-3)
    by_chance, frequent = np.random.default_rng(0).integers(5000, size=4000), np.random.default_rng(0).zipf(1.5, 4000)
    assert equal_rows(by_chance[:2500], by_chance[2500:]).clumped == pytest.approx(1.0, abs=0.1)
    assert equal_rows(frequent[:2500], frequent[2500:]).clumped > 4


def test_near_rows_are_those_within_half_of_the_usual_distance_where_no_training_rows_are_as_close():
    train = 10.0 * np.arange(20)[:, None]
    found = near_rows(train, np.array([[1.0], [4.0], [55.0]]))
    assert found is not None
    assert (found.near, found.expected, found.radius) == (2, 0.0, 0.5)


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


def _photographs() -> np.ndarray:
    """[n, 3, 32, 32] pieces of two photographs, far enough apart not to overlap."""
    pieces = [
        photograph[y : y + 32, x : x + 32].transpose(2, 0, 1) / 255
        for photograph in load_sample_images().images
        for y in range(4, photograph.shape[0] - 40, 40)
        for x in range(4, photograph.shape[1] - 40, 40)
    ]
    return np.random.default_rng(0).permutation(np.array(pieces, np.float32))


@pytest.mark.parametrize(
    "altered",
    [
        lambda images: 0.8 * images,
        lambda images: 0.2 + 0.7 * images,
        lambda images: images[..., ::-1],
        lambda images: np.roll(images, 2, axis=-1),
        lambda images: gaussian_filter(images, (0, 0, 0.7, 0.7)),
        lambda images: images + 0.02 * np.random.default_rng(1).normal(size=images.shape),
    ],
    ids=["dimmed", "less contrast", "mirrored", "shifted", "blurred", "noisy"],
)
def test_altered_copies_of_pictures_are_near_their_originals(altered):
    images = _photographs()
    half = len(images) // 2
    train, held_out = images[:half], images[half:].copy()
    untouched = near_rows(train, held_out)
    held_out[: half // 3] = altered(train[: half // 3])
    found = near_rows(train, held_out.astype(np.float32))
    assert untouched is not None
    assert found is not None
    assert found.share > 0.01 + 3 * found.expected
    assert untouched.share <= 0.01 + 3 * untouched.expected


def test_pictures_in_bytes_are_compared_as_pictures():
    images = (255 * _photographs()).astype(np.uint8)
    half = len(images) // 2
    found = near_rows(images[:half], np.concatenate([images[: half // 3, :, :, ::-1], images[half:]]))
    assert found is not None
    assert found.near >= half // 4


@pytest.mark.parametrize("changed", ["a word", "the beginning", "the end"])
def test_altered_copies_of_texts_are_near_their_originals(changed):
    words = np.random.default_rng(0).integers(1, 3000, size=(300, 40))
    train, held_out = words[:150], words[150:].copy()
    copies = train[:30].copy()
    if changed == "a word":
        copies[np.arange(30), np.arange(30) % 40] = 3001
    elif changed == "the beginning":
        copies = np.concatenate([np.full((30, 5), 3001), copies[:, :-5]], axis=1)
    else:
        copies[:, -5:] = 0
    held_out[:30] = copies
    found = near_rows(train, held_out)
    assert found is not None
    assert found.near == 30


def test_counts_of_words_that_differ_in_their_length_are_no_copies_of_each_other():
    rng = np.random.default_rng(0)
    rates = 4 / np.arange(1, 1201)
    train, held_out = (rng.poisson(rates * rng.gamma(2, 0.5, (150, 1))).astype(np.float32) for _ in range(2))
    # Rows of one split that are a little longer crowd no more than those of the other.
    found = near_copies(train * 1.1, held_out)
    assert found is not None
    assert found.copied < 0.05
    assert found.different == 1


def test_altered_copies_of_a_few_rows_are_counted_as_these_and_rows_from_elsewhere_are_not():
    rng = np.random.default_rng(0)
    rows, held_out = (rng.normal(size=(count, 20)) for count in (20, 200))
    found = near_copies(np.repeat(rows, 10, axis=0) + 0.05 * rng.normal(size=(200, 20)), held_out)
    assert found is not None
    assert (found.copied, found.distinct) == (1, 20)
    elsewhere = near_copies(rng.normal(size=(200, 20)) + 20, held_out)
    assert elsewhere is not None
    assert elsewhere.different == 1


def test_pairs_that_come_up_again_and_again_are_expected_among_rows_held_out():
    rng = np.random.default_rng(0)
    train, held_out = (rng.integers([[0, 100]], [[30, 130]], (400, 2)) for _ in range(2))
    found = near_rows(train, held_out)
    assert found is not None
    assert found.share > 0.2
    assert found.share < 1.5 * found.expected


def test_a_template_that_all_texts_share_makes_them_no_copies():
    words = np.random.default_rng(0).integers(1, 3000, size=(300, 40))
    words[:, :30] = np.arange(30)
    found = near_rows(words[:150], words[150:])
    assert found is not None
    assert found.near == 0


def test_held_out_rows_that_crowd_in_one_place_are_no_copies():
    spread, crowd = RNG.normal(size=(400, 4)), 0.05 * RNG.normal(size=(400, 4))
    found = near_rows(np.concatenate([spread, crowd[:40]]), crowd[40:])
    assert found is not None
    assert found.share <= 0.01 + 3 * found.expected


def test_one_source_cannot_be_told_apart_and_two_can():
    same = two_samples("rows", RNG.normal(size=(300, 5)), RNG.normal(size=(300, 5)))
    other = two_samples("rows", RNG.normal(size=(300, 5)), RNG.normal(size=(300, 5)) + 2)
    assert same is not None
    assert other is not None
    assert abs(same.auc - 0.5) < 4 * same.standard_error
    assert other.auc > 0.95


def test_columns_that_are_alike_one_by_one_and_go_together_otherwise_are_told_apart():
    one = RNG.normal(size=(400, 1)) * np.ones(4) + 0.3 * RNG.normal(size=(400, 4))
    shuffled = np.stack([RNG.permutation(column) for column in (one[::-1] + 0.01).T], axis=1)
    assert two_samples("rows", one, shuffled).auc < 0.6
    found = two_samples("rows", one, shuffled, curved=True)
    assert found is not None
    assert found.auc > 0.9


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
