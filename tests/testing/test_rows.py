"""assert_retention and assert_no_leakage: what rows can tell."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from kddoctor.errors import UsageError
from kddoctor.testing import UnsureWarning, assert_no_leakage, assert_retention
from tests import builders as b
from tests.testing.given import LABELS, ROWS, TEACHER, failure

# assert_retention -----------------------------------------------------------------------------------------------------


def test_a_student_that_keeps_enough_passes(runs):
    assert_retention(runs["healthy"], at_least=0.9)
    assert_retention(teacher_logits=TEACHER, student_logits=TEACHER, labels=LABELS)


def test_one_that_surely_keeps_too_little_fails_with_its_interval(runs):
    message = failure(assert_retention, runs["forgetful"])
    assert message.startswith("the student keeps too little of its teacher: measured retention 0.")
    assert "(95 % interval 0." in message
    assert "on 600 paired rows, wanted at least 0.95" in message
    assert f"kddoctor diagnose {runs['forgetful']}" in message


FEW = {
    "teacher_logits": TEACHER[:40],
    "student_logits": b.forgetting(0.04)(TEACHER[:40], LABELS[:40]),
    "labels": LABELS[:40],
}


def test_too_few_rows_to_tell_are_warned_of_and_how_many_would_be_enough_is_said():
    with pytest.warns(UnsureWarning, match=r"too few rows to tell .* about [\d,]+ rows would tell") as caught:
        assert_retention(**FEW)
    assert caught[0].filename == __file__


def test_being_unsure_can_be_a_failure_or_nothing():
    assert failure(assert_retention, **FEW, if_unsure="fail").startswith("too few rows to tell")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_retention(**FEW, if_unsure="pass")


def test_the_metric_of_a_yes_or_no_task_is_the_area():
    labels = LABELS % 2
    scores = {"teacher_logits": labels + 0.3 * TEACHER[:, 0], "student_logits": TEACHER[:, 0], "labels": labels}
    assert " of auc, student " in failure(assert_retention, **scores)


@pytest.mark.parametrize(
    "wrong", [{"at_least": 0}, {"if_unsure": "shrug"}, {"student_logits": None}, {"labels": LABELS}]
)
def test_wrong_usage_is_said_so(wrong):
    with pytest.raises(UsageError):
        assert_retention(**{**FEW, **wrong})


# assert_no_leakage ----------------------------------------------------------------------------------------------------


def loader(rows) -> DataLoader:
    return DataLoader(TensorDataset(torch.tensor(rows), torch.zeros(len(rows))), batch_size=7, shuffle=True)


@pytest.mark.parametrize(
    "make", [np.asarray, torch.tensor, loader, lambda rows: loader(rows).dataset, lambda rows: (rows, rows[:, 0])]
)
def test_equal_rows_are_found_in_arrays_tensors_loaders_datasets_and_pairs(make):
    assert_no_leakage(make(ROWS[:300]), make(ROWS[300:]))
    message = failure(assert_no_leakage, make(ROWS[:300]), make(ROWS[280:]))
    assert "KD601 train-test-leakage" in message
    assert "20 of 120 held-out rows are equal to a training row" in message


def test_near_copies_are_found():
    assert "as good as copies of a training row" in failure(
        assert_no_leakage, ROWS[:300], ROWS[200:] + np.float32(1e-3)
    )


def test_texts_of_different_lengths_are_compared_by_their_hashes():
    texts = [({"input_ids": torch.arange(n % 7 + 3) + n}, 0) for n in range(100)]
    data = DataLoader(texts, batch_size=1)
    assert "KD601" in failure(assert_no_leakage, data, DataLoader(texts[:50], batch_size=1))


def test_a_run_without_fingerprints_cannot_be_judged(runs):
    assert "train_data=" in failure(assert_no_leakage, runs["healthy"])


def test_comparing_draws_no_random_numbers():
    state = torch.get_rng_state()
    assert_no_leakage(loader(ROWS[:300]), loader(ROWS[300:]))
    assert torch.equal(torch.get_rng_state(), state)
