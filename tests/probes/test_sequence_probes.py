"""Probes of token sequences against closed forms in float64."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.probes.past_its_best import past_its_best
from kddoctor.probes.row_ends import RowEndsProbe
from kddoctor.probes.row_lengths import RowLengthsProbe
from kddoctor.probes.targets_against_own import TargetsAgainstOwnProbe
from kddoctor.probes.token_reading import TokenReadingProbe
from kddoctor.probes.user_facts import own_samples_of, seed_metrics_of, training_windows_of


def softmax(z):
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(400, 7))


@pytest.fixture
def labels(logits):
    p = softmax(2 * logits)
    return np.array([np.random.default_rng(i).choice(7, p=row) for i, row in enumerate(p)])


def against_own(targets, own, labels, parts=1):
    probes = [TargetsAgainstOwnProbe() for _ in range(parts)]
    for k, probe in enumerate(probes):
        probe.update(targets[k::parts], own[k::parts], labels[k::parts])
    for other in probes[1:]:
        probes[0].merge(other)
    return probes[0].compute()


def test_losses_and_entropies_are_those_of_the_closed_form(logits, labels):
    own = logits[:, ::-1].copy()
    found = against_own(logits, own, labels)
    p, q = softmax(logits), softmax(own)
    rows = np.arange(len(labels))
    assert found.label_loss == pytest.approx(-np.log(p[rows, labels]).mean())
    assert found.own_label_loss == pytest.approx(-np.log(q[rows, labels]).mean())
    assert found.own_entropy == pytest.approx(-(q * np.log(q)).sum(1).mean())
    assert found.answer_loss == pytest.approx(-np.log(q[rows, p.argmax(1)]).mean())


def test_parts_merge_to_the_whole(logits, labels):
    own = np.roll(logits, 1, axis=1)
    whole, merged = (against_own(logits, own, labels, parts) for parts in (1, 3))
    assert vars(whole) == pytest.approx(vars(merged))


def test_targets_that_were_told_the_answer_differ_at_the_label_alone(logits, labels):
    told = logits + 5 * np.eye(7)[labels] + 3
    found = against_own(told, logits, labels)
    assert (found.only_at_label, found.gained_right, found.gained_wrong) == (1.0, 1.0, 1.0)


def test_sharpened_targets_do_not_favour_the_label_where_the_teacher_is_wrong(logits, labels):
    found = against_own(4 * logits, logits, labels)
    assert found.gained_right > 0.9
    assert found.gained_wrong < 0.5
    assert found.only_at_label == 0


def test_a_constant_changes_nothing(logits, labels):
    assert against_own(logits + 7, logits, labels).changed == 0


def test_drawn_answers_cost_the_teacher_its_entropy(logits, labels):
    rng = np.random.default_rng(1)
    own = np.repeat(logits, 50, axis=0)
    drawn = np.array([rng.choice(7, p=p) for p in softmax(own)])
    found = against_own(20.0 * np.eye(7)[drawn], own, np.repeat(labels, 50))
    assert found.answer_loss == pytest.approx(found.own_entropy, rel=0.03)
    assert found.agreement < 0.9


# Reading --------------------------------------------------------------------------------------------------

SIZE = 12


def chain(rows=600, length=20, seed=0):
    """Texts of a Markov chain, and what follows each token."""
    rng = np.random.default_rng(seed)
    following = softmax(2 * rng.normal(size=(SIZE, SIZE)))
    text = np.zeros((rows, length + 1), int)
    text[:, 0] = rng.integers(0, SIZE, rows)
    for at in range(length):
        text[:, at + 1] = (rng.random(rows)[:, None] > following[text[:, at]].cumsum(1)).sum(1).clip(max=SIZE - 1)
    return text, following


def reading(numbers, sharper=1.0, parts=1):
    text, following = chain()
    labels, logits = text[:, 1:], sharper * np.log(following[numbers[text[:, :-1]]])
    probes = [TokenReadingProbe(SIZE, np.arange(SIZE)) for _ in range(parts)]
    size = len(labels) // parts
    for k, probe in enumerate(probes):
        probe.update(logits[k * size : (k + 1) * size], labels[k * size : (k + 1) * size])
    for other in probes[1:]:
        probes[0].merge(other)
    return probes[0].compute()


def test_a_model_that_reads_what_it_is_given_reads_each_token_as_itself():
    found = reading(np.arange(SIZE))
    assert (found.as_itself, found.as_another) == (1.0, 0.0)
    assert np.isnan(found.excess)


def test_a_model_with_other_numbers_reads_tokens_as_others_and_is_too_sure():
    found = reading(np.roll(np.arange(SIZE), 1))
    assert found.as_another > 0.9
    assert found.excess > 0.5
    assert found.divergence_best < found.divergence_itself / 5


def test_halves_stay_in_step_when_merged():
    assert vars(reading(np.roll(np.arange(SIZE), 1), parts=3)) == pytest.approx(
        vars(reading(np.roll(np.arange(SIZE), 1)))
    )


def test_a_model_that_knows_nothing_is_not_too_sure():
    found = reading(np.arange(SIZE), sharper=0.0)
    assert found.own_information == pytest.approx(0, abs=1e-6)
    assert not found.excess > 0.3


# Rows -----------------------------------------------------------------------------------------------------


def test_lengths_reach_to_the_last_counted_label():
    labels = np.array([[1, -100, 2, -100], [1, 1, 1, 1], [-100] * 4])
    one, other = RowLengthsProbe(), RowLengthsProbe()
    one.update(labels[:1, :3])
    other.update(labels[1:])
    one.merge(other)
    found = one.compute()
    assert found.lengths.tolist() == [1, 0, 0, 1, 1]
    assert (found.longest, found.width, found.counted, found.rows) == (4, 4, 6, 3)
    assert found.beyond(3) == pytest.approx(1 / 3)
    assert found.at_longest == 0.5


def test_rows_at_the_longest_length_are_no_evidence_of_a_lost_end():
    probe = RowEndsProbe(eos=9, longest=3)
    probe.update(np.array([[1, 2, 3], [1, 9, -100], [1, -100, -100]]))
    found = probe.compute()
    assert (found.rows, found.ended, found.anywhere) == (2, 0.5, True)


# Curves and facts -----------------------------------------------------------------------------------------


def curve(values, losses):
    return [{"split": "val", "step": i, "student_accuracy": v} for i, v in enumerate(values)] + [
        {"split": "train", "step": i, "kd_loss": v} for i, v in enumerate(losses)
    ]


def test_a_single_lucky_evaluation_is_no_peak():
    found = past_its_best(curve([0.5] * 5 + [0.9] + [0.5] * 14, np.linspace(2, 1, 20)))
    assert found.fall == 0


def test_the_fall_after_a_peak_and_that_of_the_loss():
    values = [*np.linspace(0.2, 0.6, 10), *np.linspace(0.6, 0.4, 30)]
    found = past_its_best(curve(values, np.linspace(4, 1, 40)))
    assert found.fall == pytest.approx(0.18, abs=0.02)
    assert found.loss_fall > 0.5
    assert found.share == pytest.approx(0.25, abs=0.05)


def test_a_growing_gap_has_its_slope():
    found = own_samples_of(
        {"teacher_nll_of_student_samples": [1.0, 1.5, 2.0, 2.5], "teacher_nll_of_teacher_samples": [1.0] * 4}
    )
    assert (found.slope, found.gap, found.error) == pytest.approx((1.5, 0.75, 0.0))


def test_windows_may_be_dates():
    found = training_windows_of({"teacher": ["2023-01-01", "2024-01-01"], "student": ["2023-07-02", "2024-07-01"]})
    assert found.unseen == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("wrong", [{}, {"teacher": 3, "student": [1, 2]}, {"teacher": [2, 1], "student": [1, 2]}])
def test_windows_that_are_none_are_not_recorded(wrong):
    assert training_windows_of(wrong) is None


def test_the_deviation_is_pooled_over_both_kinds_of_runs():
    found = seed_metrics_of({"student": [0.9, 0.92], "baseline": [0.8, 0.84]})
    assert found.gain == pytest.approx(0.09)
    assert found.deviation == pytest.approx(np.sqrt((0.0002 + 0.0008) / 2))
