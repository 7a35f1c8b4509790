import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kddoctor.probes import exact_hsic
from kddoctor.probes.layer_similarity import LayerSimilarity, LayerSimilarityProbe, exact_cka
from tests.probes import naive
from tests.probes.comparing import assert_same, bounds

Layers = dict[str, np.ndarray]

#: float32 products of a few hundred rows against float64.
TOLERANCE = 2e-6


def features(n: int, seed: int = 0, dtype: type = np.float32) -> tuple[Layers, Layers]:
    """Teacher and student layers that share a common part, one of them a map of [channels, 2, 2]."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 6))

    def layer(width: int, noise: float) -> np.ndarray:
        return (shared @ rng.normal(size=(6, width)) + noise * rng.normal(size=(n, width))).astype(dtype)

    teacher = {"block1": layer(12, 2.0).reshape(n, 3, 2, 2), "block2": layer(40, 0.5), "head": layer(5, 0.1)}
    return teacher, {"conv": layer(8, 1.0), "fc": layer(20, 0.3)}


def measured(teacher: Layers, student: Layers, batch_rows: int = 32, cuts=(), workers: int = 1) -> LayerSimilarity:
    probe = LayerSimilarityProbe(tuple(teacher), tuple(student), batch_rows, workers)
    for rows in bounds(len(next(iter(teacher.values()))), cuts):
        probe.update({k: v[rows] for k, v in teacher.items()}, {k: v[rows] for k, v in student.items()})
    return probe.compute()


def batches(n: int, size: int) -> list[slice]:
    """Full batches; a rest of fewer than four rows joins the last one."""
    edges = list(range(0, n, size))
    if len(edges) > 1 and n - edges[-1] < 4:
        edges.pop()
    return [slice(a, b) for a, b in zip(edges, [*edges[1:], n], strict=True)]


def closed_form(teacher: Layers, student: Layers, batch_rows: int) -> np.ndarray:
    n = len(next(iter(teacher.values())))
    return naive.cka(list(teacher.values()), list(student.values()), batches(n, batch_rows))


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 150), st.sampled_from([8, 32, 64]), st.integers(0, 1000))
def test_minibatches_agree_with_the_estimator_written_out(n, batch_rows, seed):
    teacher, student = features(n, seed)
    found = measured(teacher, student, batch_rows)
    np.testing.assert_allclose(found.cka, closed_form(teacher, student, batch_rows), atol=1e-4, rtol=1e-4)


def test_minibatches_are_precise_to_single_precision_and_better():
    teacher, student = features(700)
    found = measured(teacher, student, 64)
    np.testing.assert_allclose(found.cka, closed_form(teacher, student, 64), atol=TOLERANCE)


@pytest.mark.parametrize("cheaper", [True, False], ids=["feature side", "Gram side"])
@pytest.mark.parametrize("n", [40, 700])
def test_exact_agrees_with_the_estimator_written_out_on_both_sides(monkeypatch, cheaper, n):
    monkeypatch.setattr(exact_hsic, "_features_are_cheaper", lambda *_: cheaper)
    monkeypatch.setattr(exact_hsic, "TILE", 128)
    monkeypatch.setattr(exact_hsic, "FEATURE_ROWS", 100)
    monkeypatch.setattr(exact_hsic, "PRODUCT_ENTRIES", 200)  # columns in several blocks
    teacher, student = features(n)
    found = exact_cka(teacher, student)
    np.testing.assert_allclose(found.cka, closed_form(teacher, student, n), atol=TOLERANCE)
    assert (found.n, found.standard_error) == (n, None)


def test_the_cheaper_side_is_chosen_by_rows_against_widths():
    assert exact_hsic._features_are_cheaper([np.empty((10_000, 8))] * 4, 2)
    assert not exact_hsic._features_are_cheaper([np.empty((20, 512))] * 4, 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 120), st.lists(st.integers(0, 120), max_size=5))
def test_chunk_boundaries_make_no_difference(n, cuts):
    teacher, student = features(n)
    assert_same(measured(teacher, student, 16, cuts), measured(teacher, student, 16))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 4), st.integers(0, 70))
def test_merging_after_whole_minibatches_is_the_single_pass(whole, rest):
    n = whole * 16 + rest
    if n < 4:
        return
    teacher, student = features(n)
    parts = []
    for rows in bounds(n, [whole * 16]):
        probe = LayerSimilarityProbe(tuple(teacher), tuple(student), 16)
        probe.update({k: v[rows] for k, v in teacher.items()}, {k: v[rows] for k, v in student.items()})
        parts.append(probe)
    parts[0].merge(parts[1])
    assert_same(parts[0].compute(), measured(teacher, student, 16))


def test_merging_elsewhere_drops_no_row_and_stays_within_the_standard_error():
    teacher, student = features(900)
    parts = []
    for rows in bounds(900, [333]):
        probe = LayerSimilarityProbe(tuple(teacher), tuple(student), 64)
        probe.update({k: v[rows] for k, v in teacher.items()}, {k: v[rows] for k, v in student.items()})
        parts.append(probe)
    parts[0].merge(parts[1])
    found, single = parts[0].compute(), measured(teacher, student, 64)
    assert found.n == 900
    assert (np.abs(found.cka - single.cka) <= single.standard_error).all()


@pytest.mark.parametrize("rest", [1, 2, 3])
def test_a_last_batch_of_fewer_than_four_rows_is_neither_dropped_nor_nan(rest):
    teacher, student = features(64 + rest)
    found = measured(teacher, student, 32)
    assert (found.n, found.batches) == (64 + rest, 2)
    np.testing.assert_allclose(found.cka, closed_form(teacher, student, 32), atol=1e-5)


def test_a_ragged_last_batch_weighs_by_its_rows():
    teacher, student = features(64 + 5)
    found = measured(teacher, student, 32)
    assert found.batches == 3
    np.testing.assert_allclose(found.cka, closed_form(teacher, student, 32), atol=1e-5)


@pytest.mark.parametrize("measure", [measured, exact_cka], ids=["minibatch", "exact"])
def test_an_offset_of_ten_standard_deviations_changes_nothing(measure):
    teacher, student = features(200)
    moved = [{k: v + 10 * v.std() for k, v in side.items()} for side in (teacher, student)]
    np.testing.assert_allclose(measure(*moved).cka, measure(teacher, student).cka, atol=1e-5)


@pytest.mark.parametrize("measure", [measured, exact_cka], ids=["minibatch", "exact"])
@pytest.mark.parametrize("scale", [1e-3, 1e-12, 1e12])
def test_activations_of_any_scale_have_the_same_similarity(measure, scale):
    teacher, student = features(100)
    scaled = {k: (v * scale).astype(np.float32) for k, v in student.items()}
    np.testing.assert_allclose(measure(teacher, scaled).cka, measure(teacher, student).cka, atol=1e-5)


@pytest.mark.parametrize("measure", [measured, exact_cka], ids=["minibatch", "exact"])
def test_every_layer_is_fully_similar_to_itself(measure):
    teacher, _ = features(64)
    np.testing.assert_allclose(np.diag(measure(teacher, teacher).cka), 1.0, atol=1e-6)


def test_wide_independent_layers_are_not_similar():
    rng = np.random.default_rng(0)
    first, second = ({"x": rng.normal(size=(64, 512)).astype(np.float32)} for _ in range(2))
    assert abs(exact_cka(first, second).cka[0, 0]) < 0.05


def test_every_batch_counts_and_not_the_last_alone():
    teacher, student = features(256)
    whole = measured(teacher, student, 32).cka
    last = measured({k: v[-32:] for k, v in teacher.items()}, {k: v[-32:] for k, v in student.items()}, 32).cka
    assert np.abs(whole - last).max() > 0.01


def test_layers_are_found_by_name_and_not_by_order():
    teacher, student = features(100)
    turned = LayerSimilarityProbe(tuple(teacher), ("fc", "conv"), 32)
    turned.update(dict(reversed(teacher.items())), student)
    np.testing.assert_array_equal(turned.compute().cka[:, ::-1], measured(teacher, student).cka)


def test_computing_changes_nothing_and_updating_goes_on_from_there():
    teacher, student = features(80)
    probe = LayerSimilarityProbe(tuple(teacher), tuple(student), 16)
    for rows in bounds(80, [37]):
        probe.update({k: v[rows] for k, v in teacher.items()}, {k: v[rows] for k, v in student.items()})
        assert_same(probe.compute(), probe.compute(), rtol=0, atol=0)
    assert_same(probe.compute(), measured(teacher, student, 16))


def test_rows_that_wait_survive_the_reuse_of_the_callers_buffer():
    teacher, student = features(50)
    probe = LayerSimilarityProbe(tuple(teacher), tuple(student), 32)
    lent = [{k: v.copy() for k, v in side.items()} for side in (teacher, student)]
    probe.update(*lent)
    for side in lent:
        for array in side.values():
            array.fill(np.nan)
    assert_same(probe.compute(), measured(teacher, student, 32))


@pytest.mark.parametrize("measure", [measured, exact_cka], ids=["minibatch", "exact"])
@pytest.mark.parametrize("value", [0.0, 3.3, -1e4])
def test_a_constant_layer_is_similar_to_nothing(measure, value):
    teacher, student = features(70)
    teacher["block2"] = np.full((70, 40), value, dtype=np.float32)
    found = measure(teacher, student).cka
    assert (found[1] == 0.0).all()
    assert (found[[0, 2]] > 0.05).all()


def test_the_jackknife_error_is_that_of_leaving_out_one_batch_at_a_time():
    teacher, student = features(128)
    t, s = list(teacher.values()), list(student.values())
    all_batches = batches(128, 32)
    without = np.stack([naive.cka(t, s, [b for b in all_batches if b is not left]) for left in all_batches])
    expected = np.sqrt(3 / 4 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(measured(teacher, student, 32).standard_error, expected, rtol=1e-3, atol=1e-6)


def test_the_standard_error_is_about_the_spread_over_samples():
    teacher, student = features(20 * 320)
    samples = [
        measured({k: v[rows] for k, v in teacher.items()}, {k: v[rows] for k, v in student.items()})
        for rows in batches(20 * 320, 320)
    ]
    spread = np.std([sample.cka for sample in samples], axis=0)
    ratio = np.mean([sample.standard_error for sample in samples], axis=0) / spread
    assert ((ratio > 0.5) & (ratio < 2.0)).all()


def test_a_single_minibatch_has_no_standard_error():
    assert measured(*features(20)).standard_error is None


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_give_the_same(dtype):
    teacher, student = features(100, dtype=dtype)
    np.testing.assert_allclose(measured(teacher, student).cka, closed_form(teacher, student, 32), atol=1e-5)


def test_worker_threads_change_nothing():
    teacher, student = features(100)
    assert_same(measured(teacher, student, workers=2), measured(teacher, student))
    assert_same(exact_cka(teacher, student, workers=2), exact_cka(teacher, student))


def test_names_and_dimensions_are_reported():
    found = measured(*features(40))
    assert (found.teacher_layers, found.teacher_dimensions) == (("block1", "block2", "head"), (12, 40, 5))
    assert (found.student_layers, found.student_dimensions) == (("conv", "fc"), (8, 20))


def test_fewer_than_four_rows_are_an_error_that_says_so():
    teacher, student = features(3)
    for measure in (measured, exact_cka):
        with pytest.raises(ValueError, match="at least 4"):
            measure(teacher, student)


def test_features_that_cannot_be_compared_are_refused():
    teacher, student = features(20)
    probe = LayerSimilarityProbe(("block1", "block2"), ("fc",))
    with pytest.raises(ValueError, match="teacher features lack block2"):
        probe.update({"block1": teacher["block1"]}, student)
    with pytest.raises(ValueError, match="layer fc has 19 rows but block1 20"):
        probe.update(teacher, {"fc": student["fc"][:19]})
    with pytest.raises(ValueError, match=r"student layer fc is int64 \[20, 2\]"):
        probe.update(teacher, {"fc": np.zeros((20, 2), dtype=int)})
    probe.update(teacher, student)
    with pytest.raises(ValueError, match="layer fc has 3 features per row; earlier chunks had 20"):
        probe.update(teacher, {"fc": student["fc"][:, :3]})


@pytest.mark.parametrize("measure", [measured, exact_cka], ids=["minibatch", "exact"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_numbers_are_refused(measure, bad):
    teacher, student = features(40)
    student["fc"][3, 2] = bad
    with pytest.raises(ValueError, match="holds NaN, infinity"):
        measure(teacher, student)
