"""Losses of ranked lists and of texts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr, softmax

from kddoctor import losses

GROUPS = np.array([4, 1, 4, 7, 1, 4, 9])


@pytest.fixture
def scores() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(1)
    s, t = (torch.from_numpy(rng.normal(size=len(GROUPS))) for _ in range(2))
    return s, t, torch.from_numpy(GROUPS)


def lists():
    return [rows for g in np.unique(GROUPS) if len(rows := np.flatnonzero(g == GROUPS)) > 1]


def pairs():
    return [pair for rows in lists() for pair in combinations(rows, 2)]


def test_listwise_kd_is_the_divergence_of_who_comes_first(scores):
    s, t, groups = scores
    expected = np.mean([rel_entr(softmax(t.numpy()[r] / 2), softmax(s.numpy()[r] / 2)).sum() for r in lists()])
    assert float(losses.listwise_kd(s, t, groups, temperature=2.0)) == pytest.approx(expected, rel=1e-12)


def test_pairwise_kd_is_the_cross_entropy_of_every_pair(scores):
    s, t, _ = (x.numpy() for x in scores)
    p = np.array([expit(t[i] - t[j]) for i, j in pairs()])
    q = np.array([expit(s[i] - s[j]) for i, j in pairs()])
    expected = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean()
    assert float(losses.pairwise_kd(*scores)) == pytest.approx(expected, rel=1e-12)


def test_margin_mse_compares_margins(scores):
    s, t, _ = (x.numpy() for x in scores)
    expected = np.mean([((s[i] - s[j]) - (t[i] - t[j])) ** 2 for i, j in pairs()])
    assert float(losses.margin_mse(*scores)) == pytest.approx(expected, rel=1e-12)


RANKING = [losses.listwise_kd, losses.pairwise_kd, losses.margin_mse]


@pytest.mark.parametrize("loss", RANKING)
def test_an_offset_of_a_list_changes_nothing(scores, loss):
    s, t, groups = scores
    assert float(loss(s + 3.0 * groups, t, groups)) == pytest.approx(float(loss(s, t, groups)), rel=1e-9)


@pytest.mark.parametrize("loss", RANKING)
def test_lists_of_one_item_give_a_zero_that_can_be_trained_on(scores, loss):
    s, t, _ = scores
    s.requires_grad_()
    value = loss(s, t, torch.arange(len(s)))
    value.backward()
    assert value.item() == 0
    assert (s.grad == 0).all()


@pytest.mark.parametrize("loss", RANKING)
def test_gradients_of_lists_are_those_of_the_value_and_none_is_the_teachers(scores, loss):
    s, t, groups = scores
    t.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, t, groups), s.requires_grad_())
    loss(s, t, groups).backward()
    assert t.grad is None


@pytest.fixture
def texts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(4)
    s, t = (torch.from_numpy(rng.normal(size=(2, 5, 11))) for _ in range(2))
    labels = torch.from_numpy(rng.integers(0, 11, (2, 5)))
    labels[0, 3:] = -100
    return s, t, labels


@pytest.mark.parametrize("loss", [losses.token_kd, losses.generalised_kd])
def test_every_token_that_counts_has_the_same_weight(texts, loss):
    s, t, labels = texts
    counts = labels != -100
    kept = loss(s[counts][None], t[counts][None], labels[counts][None])
    assert float(loss(s, t, labels)) == pytest.approx(float(kept), rel=1e-12)


@pytest.mark.parametrize("loss", [losses.token_kd, losses.generalised_kd])
def test_what_stands_in_padding_reaches_neither_value_nor_gradient(texts, loss):
    s, t, labels = texts
    t[labels == -100] = float("inf")
    s.requires_grad_()
    value = loss(s, t, labels)
    value.backward()
    assert torch.isfinite(value)
    assert (s.grad[labels == -100] == 0).all()


@pytest.mark.parametrize("loss", [losses.token_kd, losses.generalised_kd])
def test_a_text_of_padding_alone_costs_nothing(texts, loss):
    s, t, labels = texts
    assert float(loss(s, t, torch.full_like(labels, -100))) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_students_own_texts_have_the_share_that_was_asked_for(share):
    given, own = torch.zeros(4000, 3, dtype=torch.long), torch.ones(4000, 3, dtype=torch.long)
    mixed = losses.texts_to_learn_from(given, own, own_share=share, generator=torch.Generator().manual_seed(0))
    assert set(mixed.sum(1).tolist()) <= {0, 3}
    assert float(mixed.float().mean()) == pytest.approx(share, abs=0.03)


def test_texts_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="pad them alike"):
        losses.texts_to_learn_from(torch.zeros(2, 3), torch.zeros(2, 4), own_share=0.5)
