"""The losses that a treatment trains with, against their formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, rel_entr, softmax

from kddoctor.treatment.losses import distillation_loss

ROWS, CLASSES, T, ALPHA = 7, 5, 3.0, 0.7


@pytest.fixture
def logits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, CLASSES)), rng.normal(size=(ROWS, CLASSES)), rng.integers(0, CLASSES, ROWS)


def terms(s, t, y, **options):
    made = distillation_loss(*(torch.from_numpy(np.asarray(x)) for x in (s, t, y)), **options)
    return tuple(float(x) for x in made)


def kl(p, q):
    return rel_entr(p, q).sum(-1)


def test_each_divergence_is_its_formula(logits):
    s, t, y = logits
    p, q = softmax(t / T, -1), softmax(s / T, -1)
    middle = (p + q) / 2
    expected = {
        "kl": T**2 * kl(p, q).mean(),
        "reverse-kl": T**2 * kl(q, p).mean(),
        "jsd": T**2 * (kl(p, middle) + kl(q, middle)).mean() / 2,
        "mse": ((s - t) ** 2).mean(),
    }
    for loss, value in expected.items():
        assert terms(s, t, y, loss=loss, temperature=T)[1] == pytest.approx(value, rel=1e-12), loss


def test_the_total_mixes_both_terms(logits):
    s, t, y = logits
    total, kd, ce = terms(s, t, y, temperature=T, alpha=ALPHA)
    assert ce == pytest.approx(-log_softmax(s, -1)[np.arange(ROWS), y].mean(), rel=1e-12)
    assert total == pytest.approx((1 - ALPHA) * ce + ALPHA * kd, rel=1e-12)


def test_t_squared_can_be_left_out(logits):
    with_it = terms(*logits, temperature=T)[1]
    assert terms(*logits, temperature=T, temperature_squared=False)[1] == pytest.approx(with_it / T**2, rel=1e-12)


@pytest.mark.parametrize("task", ["binary", "ranking"])
def test_yes_or_no_tasks_distil_both_answers(task):
    rng = np.random.default_rng(1)
    s, t, y = rng.normal(size=ROWS), rng.normal(size=ROWS), rng.integers(0, 2, ROWS)
    p, q = expit(t / T), expit(s / T)
    _, kd, ce = terms(s, t, y, temperature=T, task=task)
    assert kd == pytest.approx(T**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean(), rel=1e-9)
    assert ce == pytest.approx(-np.mean(y * np.log(expit(s)) + (1 - y) * np.log(expit(-s))), rel=1e-9)


def test_several_labels_are_one_question_each():
    rng = np.random.default_rng(2)
    s, t, y = rng.normal(size=(ROWS, 3)), rng.normal(size=(ROWS, 3)), rng.integers(0, 2, (ROWS, 3))
    flat = terms(s.ravel(), t.ravel(), y.ravel(), temperature=T, task="binary")
    assert terms(s, t, y, temperature=T, task="multilabel") == pytest.approx(flat, rel=1e-12)


def test_ignored_positions_count_in_neither_term():
    rng = np.random.default_rng(3)
    s, t, y = rng.normal(size=(2, 4, CLASSES)), rng.normal(size=(2, 4, CLASSES)), rng.integers(0, CLASSES, (2, 4))
    y[:, 2:] = -100
    kept = terms(s[:, :2].reshape(-1, CLASSES), t[:, :2].reshape(-1, CLASSES), y[:, :2].ravel(), temperature=T)
    assert terms(s, t, y, temperature=T, task="tokens") == pytest.approx(kept, rel=1e-12)


def test_a_student_that_equals_its_teacher_has_no_divergence(logits):
    s, _, y = logits
    for loss in ("kl", "reverse-kl", "jsd", "mse"):
        assert math.isclose(terms(s, s, y, loss=loss, temperature=T)[1], 0.0, abs_tol=1e-12)


def test_an_unknown_loss_is_refused(logits):
    with pytest.raises(ValueError, match="cannot distil with the loss 'hinge'"):
        terms(*logits, loss="hinge")
