"""Numerics of the probes of ranks, scales, paths, rates and feature terms, against closed forms in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kddoctor.probes.feature_term import feature_term
from kddoctor.probes.layer_ranks import kept_by_rank, rank_of
from kddoctor.probes.rate_signs import RateSignsProbe
from kddoctor.probes.scale_fit import ScaleFitProbe
from kddoctor.probes.student_path import StudentPathProbe

RNG = np.random.default_rng(0)


def test_the_rank_of_a_product_is_that_of_its_narrow_factor():
    found = rank_of((RNG.normal(size=(300, 3)) @ RNG.normal(size=(3, 20))).astype(np.float32))
    assert (found.units, found.rank, found.exact) == (20, 3, True)


def test_units_that_never_vary_are_not_counted():
    features = RNG.normal(size=(100, 6))
    features[:, 2] = 1.5
    assert rank_of(features).units == 5


def test_units_that_equal_another_are_copies_and_small_ones_beside_huge_ones_are_not():
    features = RNG.normal(size=(100, 6))
    assert rank_of(features).copies == 0
    features[:, 3] = features[:, 2]
    assert rank_of(features).copies == pytest.approx(2 / 6)
    assert rank_of(np.column_stack([RNG.normal(size=(100, 6)), 1e8 * RNG.normal(size=100)])).copies == 0
    assert rank_of(np.column_stack([RNG.normal(size=(100, 6)), 1e8 + RNG.normal(size=100)])).copies == 0


def test_equal_singular_values_are_all_effective():
    q, _ = np.linalg.qr(RNG.normal(size=(64, 8)) - RNG.normal(size=(64, 8)).mean(0))
    q -= q.mean(0)
    q, _ = np.linalg.qr(q)
    assert rank_of(q).effective == pytest.approx(8, rel=1e-6)


def test_an_approximation_of_full_rank_keeps_every_answer():
    kept = kept_by_rank(RNG.normal(size=(200, 5)))
    assert kept[-1] == 1.0
    assert len(kept) == 6


def test_the_best_factor_undoes_a_known_one_and_chunks_add_up():
    teacher = 3 * RNG.normal(size=(400, 6))
    labels = teacher.argmax(1)
    whole, parts = (ScaleFitProbe("kl", 2.0, 1.0, squared=True) for _ in range(2))
    whole.update(teacher / 2, teacher, labels)
    other = ScaleFitProbe("kl", 2.0, 1.0, squared=True)
    parts.update(teacher[:150] / 2, teacher[:150], labels[:150])
    other.update(teacher[150:] / 2, teacher[150:], labels[150:])
    parts.merge(other)
    one, two = whole.compute(), parts.compute()
    assert one is not None
    assert two is not None
    assert (one.factor, two.factor) == (2.0, 2.0)
    assert one.gain == pytest.approx(1.0)
    assert two.objective == pytest.approx(one.objective)


@pytest.mark.parametrize("family", ["kl", "reverse-kl", "mse"])
def test_the_objective_is_that_of_torch(family):
    s, t = RNG.normal(size=(50, 4)), RNG.normal(size=(50, 4))
    labels = RNG.integers(0, 4, 50)
    probe = ScaleFitProbe(family, 3.0, 0.7, squared=True)
    probe.update(s, t, labels)
    found = probe.compute()
    a, c = (torch.log_softmax(torch.from_numpy(x) / 3.0, -1) for x in (t, s))
    soft = {
        "kl": 9 * torch.nn.functional.kl_div(c, a, log_target=True, reduction="batchmean"),
        "reverse-kl": 9 * torch.nn.functional.kl_div(a, c, log_target=True, reduction="batchmean"),
        "mse": torch.nn.functional.mse_loss(torch.from_numpy(s), torch.from_numpy(t)),
    }[family]
    hard = torch.nn.functional.cross_entropy(torch.from_numpy(s), torch.from_numpy(labels))
    assert found is not None
    assert found.objective == pytest.approx(float(0.7 * soft + 0.3 * hard), rel=1e-10)
    assert found.hard_loss == pytest.approx(float(hard), rel=1e-10)


def test_a_constant_student_has_no_excess_and_does_not_depend_on_its_input():
    probe = StudentPathProbe(5, 1.0)
    probe.update(0, np.zeros((20, 5)), RNG.normal(size=(20, 5)), RNG.integers(0, 5, 20))
    found = probe.compute()
    assert found is not None
    assert (found.excess[0], found.dependence[0]) == (pytest.approx(0.0), 0.0)


def test_steps_come_in_order_whatever_the_order_of_arrival():
    probe, other = StudentPathProbe(3, 1.0), StudentPathProbe(3, 1.0)
    z, y = RNG.normal(size=(8, 3)), RNG.integers(0, 3, 8)
    probe.update(9, z, z, y)
    other.update(2, z, z, y)
    probe.merge(other)
    found = probe.compute()
    assert found is not None
    assert list(found.step) == [2, 9]


def rows(losses, lr=0.1, norm=1.0):
    return [{"step": k, "epoch": k // 5, "loss": float(v), "lr": lr, "grad_norm": norm} for k, v in enumerate(losses)]


def test_steps_beyond_polyaks_size_are_counted():
    probe = RateSignsProbe()
    probe.update(rows([1.0] * 20, norm=2.0))  # 0.1 * 4 < 1
    probe.update([{"step": 20 + k, "loss": 1.0, "lr": 0.1, "grad_norm": 4.0} for k in range(20)])  # 0.1 * 16 > 1
    found = probe.compute()
    assert found is not None
    assert found.overshoots == pytest.approx(0.5)


def test_a_straight_line_falls_at_its_average_pace_and_a_wound_down_rest_is_left_out():
    probe = RateSignsProbe()
    probe.update(rows(np.linspace(4, 1, 100)))
    straight = probe.compute()
    probe.update([{"step": 100 + k, "loss": 1.0, "lr": 0.001} for k in range(100)])
    wound_down = probe.compute()
    assert straight is not None
    assert wound_down is not None
    assert straight.pace == pytest.approx(wound_down.pace)
    assert straight.pace == pytest.approx(1.0, rel=0.15)


def test_few_losses_show_nothing():
    probe = RateSignsProbe()
    probe.update(rows([1.0] * 5))
    assert probe.compute() is None


def test_the_weight_of_a_feature_term_is_found_and_a_fourth_term_hides_it():
    kd, ce, feature = (RNG.random(20) + 0.5 for _ in range(3))
    found = feature_term(0.9 * kd + 0.1 * ce + 4 * feature, kd, ce, feature)
    assert found is not None
    assert found.weight == pytest.approx(4.0)
    assert feature_term(0.9 * kd + 0.1 * ce + 4 * feature + RNG.random(20), kd, ce, feature) is None
