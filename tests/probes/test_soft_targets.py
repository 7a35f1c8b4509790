import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from kddoctor.probes.entropy_sweep import EntropySweep
from kddoctor.probes.soft_targets import DEFAULT_TEMPERATURES, SoftTargets, SoftTargetsProbe
from tests.probes.comparing import assert_same, in_chunks, merged
from tests.probes.naive import entropies

#: Promised error of an entropy, in nats.
ENTROPY_TOLERANCE = 3e-6


def measured(logits: np.ndarray, temperatures=DEFAULT_TEMPERATURES, labels=None) -> SoftTargets:
    probe = SoftTargetsProbe(temperatures, logits.shape[1])
    probe.update(logits, labels)
    return probe.compute()


def naive_non_target(logits: np.ndarray) -> tuple[float, float]:
    """(spread, structure), by loops and an analysis of variance of each column."""
    n, classes = logits.shape
    top = logits.argmax(axis=1)
    spreads, table = [], np.full(logits.shape, np.nan)
    for i in range(n):
        others = np.delete(logits[i], top[i])
        spreads.append(others.std() / (logits[i, top[i]] - others.mean()))
        table[i, np.arange(classes) != top[i]] = others - others.mean()
    within = total = within_freedom = total_freedom = 0.0
    for j in range(classes):
        column, group = table[top != j, j], top[top != j]
        if len(column):
            total += ((column - column.mean()) ** 2).sum()
            total_freedom += len(column) - 1
        for c in np.unique(group):
            members = column[group == c]
            within += ((members - members.mean()) ** 2).sum()
            within_freedom += len(members) - 1
    structure = 1 - (within / within_freedom) / (total / total_freedom)
    return float(np.mean(spreads)), float(np.clip(structure, 0, 1))


grids = st.one_of(
    st.just(DEFAULT_TEMPERATURES),
    st.lists(st.floats(0.3, 40.0), min_size=1, max_size=6),
    st.permutations([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 3.0]),
)
cases = st.tuples(st.integers(1, 40), st.integers(2, 30), st.integers(0, 10**6), st.sampled_from([0.2, 3.0, 40.0]))


def logits_of(case) -> np.ndarray:
    n, classes, seed, scale = case
    return (np.random.default_rng(seed).normal(size=(n, classes)) * scale).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(cases, grids)
def test_it_agrees_with_softmax_in_float64_on_any_grid(case, grid):
    logits = logits_of(case)
    found = measured(logits, grid)
    for k, temperature in enumerate(grid):
        row_entropy = entropies(logits, temperature)
        top1 = softmax(logits.astype(np.float64) / temperature, axis=1).max(axis=1)
        ratio = row_entropy / np.log(case[1])
        assert abs(found.entropy[k] - row_entropy.mean()) <= ENTROPY_TOLERANCE
        assert found.entropy_ratio_mean[k] == pytest.approx(ratio.mean(), abs=1e-5)
        assert found.entropy_ratio_median[k] == pytest.approx(np.median(ratio), abs=1.01 / 2048)
        assert found.top1_mean[k] == pytest.approx(top1.mean(), abs=1e-6)
        assert found.top1_median[k] == pytest.approx(np.median(top1), abs=1.01 / 2048)
        assert found.non_target_mass[k] == pytest.approx((1 - top1).mean(), abs=1e-6)


@pytest.mark.parametrize("classes", [1000, 4097, 50_257, 128_000])
def test_each_row_keeps_its_precision_with_many_classes(classes):
    rng = np.random.default_rng(classes)
    logits = (rng.normal(size=(2, classes)) * 3).astype(np.float32)
    sweep = EntropySweep(DEFAULT_TEMPERATURES, classes)
    for row in logits:
        sweep.load(row[None], row[None].argmax(axis=1))
        found, _ = sweep.measure(1)
        for k, temperature in enumerate(DEFAULT_TEMPERATURES):
            assert abs(found[k, 0] - entropies(row[None], temperature)[0]) <= ENTROPY_TOLERANCE


def test_a_block_of_many_wide_rows_is_measured_row_by_row():
    logits = (np.random.default_rng(0).normal(size=(45, 9001)) * 2).astype(np.float32)
    assert abs(measured(logits, (2.0,)).entropy[0] - entropies(logits, 2.0).mean()) <= ENTROPY_TOLERANCE


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 60), st.integers(3, 8), st.integers(0, 10**6))
def test_non_target_statistics_agree_with_an_analysis_of_variance(n, classes, seed):
    logits = np.random.default_rng(seed).normal(size=(n, classes)) * 2
    logits[: n // 2, 0] += 10.0  # at least one class is the top of several rows
    spread, structure = naive_non_target(logits)
    found = measured(logits, (1.0,))
    assert found.non_target_spread == pytest.approx(spread, rel=1e-4)
    assert found.non_target_structure == pytest.approx(structure, abs=1e-4)


def test_characteristic_neighbours_are_told_from_noise():
    rng = np.random.default_rng(0)
    top = rng.integers(0, 20, 600)
    noise = rng.normal(size=(600, 20))
    patterned = rng.normal(size=(20, 20))[top] * 3 + noise
    for logits in (patterned, noise):
        logits[np.arange(600), top] = 30.0
    assert measured(patterned).non_target_structure > 0.8
    assert measured(noise).non_target_structure < 0.05


def test_a_preference_that_all_classes_share_is_no_structure():
    rng = np.random.default_rng(1)
    top = rng.integers(0, 200, 2000)
    logits = rng.normal(size=(2000, 200)) + 3 * rng.normal(size=200)
    logits[np.arange(2000), top] = 30.0
    assert measured(logits).non_target_structure < 0.05


def test_label_smoothing_leaves_little_spread():
    rng = np.random.default_rng(0)
    top = rng.integers(0, 50, 300)
    smoothed = rng.normal(size=(300, 50)) * 0.2
    smoothed[np.arange(300), top] = 7.0
    assert measured(smoothed).non_target_spread < 0.05
    assert measured(rng.normal(size=(300, 50)) * 3).non_target_spread > 0.3


def test_entropy_is_grouped_by_the_teachers_class():
    logits = np.array([[2.0, 0, 0], [3.0, 0, 0], [0, 0, 4.0]])
    found = measured(logits, (1.0, 4.0)).per_class_entropy
    assert found.shape == (3, 2)
    assert found[0] == pytest.approx([entropies(logits[:2], t).mean() for t in (1.0, 4.0)], abs=1e-5)
    assert np.isnan(found[1]).all()
    assert found[2] == pytest.approx([entropies(logits[2:], t).mean() for t in (1.0, 4.0)], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(cases, st.lists(st.integers(0, 40), max_size=4))
def test_chunks_and_workers_make_no_difference(case, cuts):
    arrays, make = (logits_of(case), None), lambda: SoftTargetsProbe((1.0, 2.0, 3.0), case[1])
    whole = measured(arrays[0], (1.0, 2.0, 3.0))
    # A median may step into the next bin where a value lies on its edge.
    assert_same(in_chunks(make, arrays, cuts).compute(), whole, atol=1 / 2048)
    assert_same(merged(make, arrays, cuts).compute(), whole, atol=1 / 2048)
    assert merged(make, arrays, cuts).compute().entropy == pytest.approx(whole.entropy, abs=1e-6)


def test_computing_changes_nothing():
    probe = SoftTargetsProbe((1.0,), 5)
    probe.update(logits_of((9, 5, 0, 1.0)))
    assert_same(probe.compute(), probe.compute(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_huge_logits_are_one_hot_and_not_nan(dtype):
    logits = np.array([[1e4, -1e4, 0.0], [0.0, -1e4, 1e4]], dtype=dtype)
    found = measured(logits)
    np.testing.assert_allclose(found.entropy, 0.0, atol=1e-12)
    np.testing.assert_array_equal(found.top1_mean, 1.0)


@pytest.mark.parametrize("scale", [60.0, 400.0, 3000.0])
def test_logits_that_underflow_keep_the_entropy_right(scale):
    logits = (np.random.default_rng(0).normal(size=(40, 300)) * scale).astype(np.float32)
    found = measured(logits)
    for k, temperature in enumerate(DEFAULT_TEMPERATURES):
        assert abs(found.entropy[k] - entropies(logits, temperature).mean()) <= ENTROPY_TOLERANCE


def test_half_precision_is_measured_as_what_it_holds():
    logits = logits_of((30, 12, 0, 3.0)).astype(np.float16)
    assert_same(measured(logits), measured(logits.astype(np.float64)), atol=1 / 2048)


def test_equal_logits_are_uniform_and_have_no_spread_to_measure():
    found = measured(np.full((4, 8), 3.0), (1.0, 7.0))
    np.testing.assert_allclose(found.entropy_ratio_median, 1.0, atol=1e-6)
    assert found.non_target_spread is None
    assert found.non_target_structure == 0.0


def test_two_classes_have_neither_spread_nor_structure():
    found = measured(logits_of((10, 2, 0, 1.0)))
    assert found.non_target_spread is found.non_target_structure is None


def test_one_row_has_no_structure_but_has_an_entropy():
    found = measured(logits_of((1, 5, 0, 1.0)))
    assert found.non_target_structure is None
    assert found.n == 1


def test_ignored_positions_are_left_out():
    logits = logits_of((30, 6, 0, 3.0))
    labels = np.where(np.arange(30) % 4 == 1, -100, 2)
    assert_same(measured(logits, labels=labels), measured(logits[labels == 2]), atol=1 / 2048)


def test_above_2000_classes_nothing_quadratic_is_kept():
    found = measured(logits_of((3, 2001, 0, 1.0)), (1.0,))
    assert found.per_class_entropy is found.non_target_structure is None
    assert found.non_target_spread > 0


def test_no_row_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="no row was counted"):
        SoftTargetsProbe((1.0,), 3).compute()


@pytest.mark.parametrize("temperatures", [(), (0.0,), (1.0, -2.0), (float("inf"),), (float("nan"),)])
def test_impossible_temperatures_are_refused(temperatures):
    with pytest.raises(ValueError, match="each positive"):
        SoftTargetsProbe(temperatures, 3)


def test_infinite_logits_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 2 rows"):
        measured(np.array([[0.0, -np.inf, 1.0], [0.0, 1.0, 2.0]]))


def test_probes_for_other_temperatures_are_not_merged():
    with pytest.raises(ValueError, match="different temperatures"):
        SoftTargetsProbe((1.0,), 3).merge(SoftTargetsProbe((2.0,), 3))


def test_logits_whose_squares_leave_float32_give_finite_numbers():
    logits = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32) * np.float32(1e25)
    probe = SoftTargetsProbe((1.0, 4.0), 5)
    probe.update(logits)
    found = probe.compute()
    assert np.isfinite(found.entropy_ratio_median).all()
    assert np.isfinite(found.non_target_spread)
