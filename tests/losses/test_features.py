"""Losses of features, against their formulas in numpy and scipy, and what they must not notice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import cosine_similarity

from kddoctor import losses

ROWS = 7


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(5)
    return torch.from_numpy(rng.normal(size=(ROWS, 5))), torch.from_numpy(rng.normal(size=(ROWS, 8)))


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(6)
    return torch.from_numpy(rng.normal(size=(4, 3, 6, 6))), torch.from_numpy(rng.normal(size=(4, 5, 6, 6)))


def huber(x):
    x = np.abs(x)
    return np.where(x < 1, x**2 / 2, x - 0.5).mean()


def rotated(features: torch.Tensor) -> torch.Tensor:
    turn = torch.linalg.qr(torch.from_numpy(np.random.default_rng(8).normal(size=(features.shape[1],) * 2)))[0]
    return 3.0 * features @ turn


def test_relational_distance_is_that_of_scipys_distances(features):
    s, t = features
    ours, theirs = pdist(s), pdist(t)
    expected = huber(ours / ours.mean() - theirs / theirs.mean())
    assert float(losses.relational_distance(s, t)) == pytest.approx(expected, rel=1e-12)


def test_relational_angle_is_that_of_all_triplets(features):
    s, t = (x.numpy() for x in features)

    def angles(x):
        found = np.zeros((ROWS, ROWS, ROWS))
        for i, j, k in np.ndindex(found.shape):
            if j not in (i, k):
                a, b = x[i] - x[j], x[k] - x[j]
                found[j, i, k] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        return found

    assert float(losses.relational_angle(*features)) == pytest.approx(huber(angles(s) - angles(t)), rel=1e-10)


def test_cka_loss_is_one_less_the_similarity_of_centred_grams(features):
    s, t = features
    centre = np.eye(ROWS) - 1 / ROWS
    k, m = (centre @ x.numpy() @ x.numpy().T @ centre for x in (s, t))
    expected = 1 - (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    assert float(losses.cka_loss(s, t)) == pytest.approx(expected, rel=1e-12)


def test_similarity_preserving_is_that_of_normalised_grams(features):
    s, t = (x.numpy() @ x.numpy().T for x in features)
    expected = (
        (s / np.linalg.norm(s, axis=1, keepdims=True) - t / np.linalg.norm(t, axis=1, keepdims=True)) ** 2
    ).sum()
    assert float(losses.similarity_preserving(*features)) == pytest.approx(expected / ROWS**2, rel=1e-12)


def test_probabilistic_transfer_is_the_divergence_of_neighbourhoods(features):
    def chances(x):
        kernel = (cosine_similarity(x) + 1) / 2
        np.fill_diagonal(kernel, 0)
        return kernel / kernel.sum(1, keepdims=True)

    ours, theirs = (chances(x.numpy()) for x in features)
    off = ~np.eye(ROWS, dtype=bool)
    expected = (theirs[off] * np.log(theirs[off] / ours[off])).sum() / ROWS
    assert float(losses.probabilistic_transfer(*features)) == pytest.approx(expected, rel=1e-10)


def test_attention_transfer_compares_where_and_not_what(maps):
    s, t = maps

    def attention(x):
        flat = (x.numpy() ** 2).mean(1).reshape(len(x), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    expected = ((attention(s) - attention(t)) ** 2).sum(1).mean()
    assert float(losses.attention_transfer(s, t)) == pytest.approx(expected, rel=1e-12)
    assert float(losses.attention_transfer(-2 * t[:, [4, 3, 2, 1, 0]], t)) == pytest.approx(0, abs=1e-12)


def test_attention_of_two_sizes_is_compared_at_the_smaller(maps):
    s, t = maps
    wide = t.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert float(losses.attention_transfer(s, wide)) == pytest.approx(float(losses.attention_transfer(s, t)), rel=1e-10)


@pytest.mark.parametrize(
    "loss", [losses.relational_distance, losses.relational_angle, losses.cka_loss, losses.probabilistic_transfer]
)
def test_relations_do_not_notice_a_rotation_and_a_scale(features, loss):
    _, t = features
    assert float(loss(rotated(t), t)) == pytest.approx(0, abs=1e-10)


FEATURE_LOSSES = [
    losses.relational_distance,
    losses.relational_angle,
    losses.cka_loss,
    losses.probabilistic_transfer,
    losses.similarity_preserving,
]


@pytest.mark.parametrize("loss", FEATURE_LOSSES)
def test_only_the_student_gets_a_gradient_and_it_is_the_right_one(features, loss):
    s, t = features
    t.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, t), s.requires_grad_())
    loss(s, t).backward()
    assert t.grad is None


@pytest.mark.parametrize("loss", FEATURE_LOSSES)
def test_features_that_collapsed_to_a_point_leave_no_nan(features, loss):
    s = torch.ones(ROWS, 5, dtype=torch.float64, requires_grad=True)
    value = loss(s, features[1])
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(s.grad).all()


class TestHint:
    def test_is_zero_where_the_projector_can_make_the_teachers_features(self, features):
        s, _ = features
        hint = losses.Hint(s.shape, (ROWS, 8)).double()
        assert hint(s, hint.projector(s).detach()).item() == pytest.approx(0, abs=1e-20)

    def test_training_the_projector_alone_reaches_least_squares(self, features):
        s, t = features
        hint = losses.Hint(s.shape, t.shape, normalised=False).double()
        optimizer = torch.optim.LBFGS(
            hint.parameters(), max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
        )

        def closure():
            optimizer.zero_grad()
            loss = hint(s, t)
            loss.backward()
            return loss

        optimizer.step(closure)
        design = np.c_[s.numpy(), np.ones(ROWS)]
        rest = t.numpy() - design @ np.linalg.lstsq(design, t.numpy(), rcond=None)[0]
        assert hint(s, t).item() == pytest.approx((rest**2).mean(), rel=1e-6)

    def test_has_the_size_of_one_whatever_the_layers_scale(self, features):
        s, t = features
        hint = losses.Hint(s.shape, t.shape).double()
        with torch.no_grad():
            for parameter in hint.parameters():
                parameter.zero_()
        assert hint(s, 1e3 * t).item() == pytest.approx(1.0)

    def test_maps_of_other_widths_and_sizes_are_brought_together(self, maps):
        s, t = maps
        hint = losses.Hint(s.shape, t.shape).double()
        loss = hint(s[:, :, ::2, ::2], t)
        loss.backward()
        assert all(p.grad is not None for p in hint.parameters())

    def test_sequences_are_projected_along_their_last_axis(self):
        hint = losses.Hint((2, 4, 3), (2, 4, 6))
        assert hint(torch.ones(2, 4, 3), torch.ones(2, 4, 6)).shape == ()

    def test_layers_of_different_kinds_are_refused(self):
        with pytest.raises(ValueError, match="cannot be compared"):
            losses.Hint((2, 3), (2, 3, 4, 4))


class TestContrast:
    def test_is_the_cross_entropy_of_finding_ones_own_row(self):
        rng = np.random.default_rng(2)
        s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, ROWS, 4)))
        scores = s @ t.T / 0.1
        both = [np.log(np.exp(z).sum(1)) - np.diag(z) for z in (scores, scores.T)]
        found = losses.in_batch_contrast(torch.from_numpy(s), torch.from_numpy(t))
        assert float(found) == pytest.approx(np.mean(both), rel=1e-10)

    def test_training_finds_the_shared_information(self):
        torch.manual_seed(0)
        t = torch.randn(64, 8)
        s = t @ torch.randn(8, 6)
        module = losses.ContrastiveDistillation(6, 8, width=16)
        optimizer = torch.optim.Adam(module.parameters(), 0.02)
        first = module(s, t).item()
        for _ in range(60):
            optimizer.zero_grad()
            module(s, t).backward()
            optimizer.step()
        assert module(s, t).item() < 0.2 * first
