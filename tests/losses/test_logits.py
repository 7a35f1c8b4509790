"""Losses of logits, against their formulas in float64 numpy and scipy, written without the package."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import log_expit, rel_entr, softmax
from scipy.stats import pearsonr

from kddoctor import losses

ROWS, CLASSES, T = 9, 6, 3.0


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(3)
    s, t = (torch.from_numpy(rng.normal(scale=2, size=(ROWS, CLASSES))) for _ in range(2))
    return s, t, torch.from_numpy(rng.integers(0, CLASSES, ROWS))


def kl(p, q):
    return rel_entr(p, q).sum(-1)


def soft(z, temperature=T):
    return softmax(np.asarray(z) / temperature, -1)


def test_kd_is_t_squared_times_the_divergence(batch):
    s, t, _ = batch
    assert float(losses.kd(s, t, temperature=T)) == pytest.approx(T**2 * kl(soft(t), soft(s)).mean(), rel=1e-12)


def test_reverse_kd_exchanges_the_sides(batch):
    s, t, _ = batch
    assert float(losses.reverse_kd(s, t, temperature=T)) == pytest.approx(T**2 * kl(soft(s), soft(t)).mean(), rel=1e-12)


def test_jsd_at_a_half_is_scipys_distance_squared(batch):
    s, t, _ = batch
    expected = (jensenshannon(soft(t), soft(s), axis=-1) ** 2).mean()
    assert float(losses.jsd_kd(s, t, temperature=T)) == pytest.approx(T**2 * expected, rel=1e-10)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_jsd_at_any_beta_is_its_definition(batch, beta):
    s, t, _ = batch
    p, q = soft(t, 1), soft(s, 1)
    middle = beta * p + (1 - beta) * q
    expected = (beta * kl(p, middle) + (1 - beta) * kl(q, middle)).mean()
    assert float(losses.jsd_kd(s, t, beta=beta)) == pytest.approx(expected, rel=1e-12)


def test_a_small_beta_has_the_gradient_of_forward_kl(batch):
    s, t, _ = batch
    grads = []
    for loss in (lambda z: losses.jsd_kd(z, t, beta=1e-4) / 1e-4, lambda z: losses.kd(z, t, temperature=1.0)):
        z = s.clone().requires_grad_()
        loss(z).backward()
        grads.append(z.grad)
    assert torch.allclose(*grads, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("beta", [0.0, 1.0, -1.0, 2.0])
def test_a_beta_outside_is_refused(batch, beta):
    with pytest.raises(ValueError, match="between 0 and 1"):
        losses.jsd_kd(*batch[:2], beta=beta)


def test_kd_at_a_high_temperature_is_half_of_the_centred_squares(batch):
    s, t, _ = batch
    limit = 0.5 * float(losses.logit_mse(s, t, centred=True))
    assert float(losses.kd(s, t, temperature=1e4)) == pytest.approx(limit, rel=1e-3)


def test_centred_squares_do_not_see_a_constant(batch):
    s, t, _ = batch
    assert float(losses.logit_mse(t + 5, t, centred=True)) == pytest.approx(0, abs=1e-24)
    assert float(losses.logit_mse(s, t)) == pytest.approx(((s - t) ** 2).mean().item(), rel=1e-12)


def test_decoupled_kd_with_the_teachers_own_weights_is_kd(batch):
    s, t, y = batch
    parts = [
        losses.decoupled_kd(s[[i]], t[[i]], y[[i]], target_weight=1, other_weight=1 - soft(t)[i, y[i]], temperature=T)
        for i in range(ROWS)
    ]
    assert float(torch.stack(parts).mean()) == pytest.approx(float(losses.kd(s, t, temperature=T)), rel=1e-10)


def test_dist_is_one_less_pearsons_correlation_of_rows_and_of_columns(batch):
    s, t, _ = batch
    p, q = soft(t), soft(s)
    rows = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(p, q, strict=True)])
    columns = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(p.T, q.T, strict=True)])
    expected = T**2 * (2 * rows + 0.5 * columns)
    found = losses.dist(s, t, row_weight=2, class_weight=0.5, temperature=T)
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_standardised_kd_ignores_scale_and_offset(batch):
    s, t, _ = batch
    assert float(losses.standardised_kd(7 * t - 3, t)) == pytest.approx(0, abs=1e-12)
    z = [(np.asarray(x) - np.mean(x.numpy(), -1, keepdims=True)) / np.std(x.numpy(), -1, keepdims=True) for x in (s, t)]
    expected = 4 * kl(soft(z[1], 2), soft(z[0], 2)).mean()
    assert float(losses.standardised_kd(s, t, temperature=2.0)) == pytest.approx(expected, rel=1e-10)


def test_sigmoid_kd_is_the_divergence_of_two_answers(batch):
    s, t, _ = batch
    p, q = np.exp(log_expit(t.numpy() / T)), np.exp(log_expit(s.numpy() / T))
    expected = T**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean()
    assert float(losses.sigmoid_kd(s, t, temperature=T)) == pytest.approx(expected, rel=1e-10)


def test_sigmoid_kd_leaves_out_unknown_labels(batch):
    s, t, _ = batch
    known = torch.zeros_like(s, dtype=torch.bool)
    known[:, :2] = True
    assert float(losses.sigmoid_kd(s, t, mask=known)) == pytest.approx(float(losses.sigmoid_kd(s[:, :2], t[:, :2])))


def test_weights_are_those_of_a_weighted_mean(batch):
    s, t, y = batch
    weights = losses.confidence_weights(t, y)
    assert weights.numpy() == pytest.approx(soft(t, 1)[np.arange(ROWS), y.numpy()])
    expected = np.average(kl(soft(t), soft(s)), weights=weights.numpy()) * T**2
    assert float(losses.kd(s, t, temperature=T, weights=weights)) == pytest.approx(expected, rel=1e-12)


def test_correctness_weights_leave_out_rows_on_which_the_teacher_errs(batch):
    s, t, y = batch
    y = torch.where(torch.arange(ROWS) < 4, t.argmax(-1), (t.argmax(-1) + 1) % CLASSES)
    right = t.argmax(-1) == y
    found = losses.kd(s, t, temperature=T, weights=losses.correctness_weights(t, y))
    assert float(found) == pytest.approx(float(losses.kd(s[right], t[right], temperature=T)), rel=1e-12)


LOGIT_LOSSES = {
    "kd": lambda s, t, y: losses.kd(s, t),
    "reverse": lambda s, t, y: losses.reverse_kd(s, t),
    "jsd": lambda s, t, y: losses.jsd_kd(s, t),
    "mse": lambda s, t, y: losses.logit_mse(s, t),
    "decoupled": losses.decoupled_kd,
    "dist": lambda s, t, y: losses.dist(s, t),
    "standardised": lambda s, t, y: losses.standardised_kd(s, t),
    "sigmoid": lambda s, t, y: losses.sigmoid_kd(s, t),
}


@pytest.mark.parametrize("name", LOGIT_LOSSES)
def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient(batch, name):
    _, t, y = batch
    s = t.clone().requires_grad_()
    loss = LOGIT_LOSSES[name](s, t, y)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-10)
    assert s.grad.abs().max() < 1e-6


@pytest.mark.parametrize("name", LOGIT_LOSSES)
def test_the_teacher_gets_no_gradient(batch, name):
    s, t, y = batch
    s, t = s.requires_grad_(), t.requires_grad_()
    LOGIT_LOSSES[name](s, t, y).backward()
    assert t.grad is None
    assert s.grad.abs().max() > 0


@pytest.mark.parametrize("name", LOGIT_LOSSES)
def test_gradients_are_those_of_the_value(batch, name):
    s, t, y = batch
    assert torch.autograd.gradcheck(lambda z: LOGIT_LOSSES[name](z, t, y), s.requires_grad_())


@pytest.mark.parametrize("name", LOGIT_LOSSES)
def test_a_very_sure_teacher_leaves_everything_finite(batch, name):
    s, t, y = batch
    s = (100 * s).float().requires_grad_()
    loss = LOGIT_LOSSES[name](s, (1e3 * t).float(), y)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(s.grad).all()


def test_half_precision_logits_are_computed_in_single(batch):
    s, t, _ = batch
    half = losses.kd(s.half(), t.half(), temperature=T)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(losses.kd(s, t, temperature=T)), rel=1e-2)


class TestCurriculumTemperature:
    def test_starts_where_it_is_told(self):
        assert losses.CurriculumTemperature(start=6.0).temperature.item() == pytest.approx(6.0)

    def test_its_loss_is_kd_at_that_temperature(self, batch):
        s, t, _ = batch
        found = losses.CurriculumTemperature(start=T).double()(s, t, done=1.0)
        assert found.item() == pytest.approx(float(losses.kd(s, t, temperature=T)), rel=1e-6)

    def test_the_optimizer_makes_it_harder_for_the_student(self, batch):
        s, t, _ = batch
        module = losses.CurriculumTemperature(start=T).double()
        optimizer = torch.optim.SGD(module.parameters(), 0.01)
        before = module(s, t, done=1.0).item()
        module(s, t, done=1.0).backward()
        optimizer.step()
        assert module(s, t, done=1.0).item() > before

    def test_the_strength_rises_from_nothing_to_one_and_stays(self):
        module = losses.CurriculumTemperature(rising=0.2)
        assert [round(module.strength(x), 3) for x in (0.0, 0.1, 0.2, 1.0)] == [0.0, 0.5, 1.0, 1.0]

    def test_a_start_outside_is_refused(self):
        with pytest.raises(ValueError, match="between"):
            losses.CurriculumTemperature(start=50.0)
