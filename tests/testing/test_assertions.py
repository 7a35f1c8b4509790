"""Assertions in users' own tests: what they take, when they fail, and what their messages say."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kddoctor.engine import diagnose
from kddoctor.errors import RunError, UsageError
from kddoctor.run import load
from kddoctor.testing import (
    UnsureWarning,
    assert_healthy,
    assert_loss_sound,
    assert_no_leakage,
    assert_retention,
    assert_soft_targets_informative,
    assert_teacher_valid,
)
from tests import builders as b
from tests.builders import World, recorded_run
from tests.forensics import losses

WORLD = World()
LABELS = WORLD.labels(600, 1)
TEACHER = WORLD.teacher(LABELS, 1)
ROWS = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        "healthy": recorded_run(folder / "healthy"),
        "sick": recorded_run(folder / "sick", kd=losses.kl(scale="1")),
        "thin": recorded_run(folder / "thin", steps=0, metrics=[]),
        "random teacher": recorded_run(folder / "random", teacher=b.untrained),
        "one-hot": recorded_run(
            folder / "one-hot", teacher=b.sharpened(20), student=b.forgetting(0.1), declared={"temperature": 1.0}
        ),
        "forgetful": recorded_run(folder / "forgetful", student=b.forgetting(0.3)),
    }


def failure(assertion, *arguments, **options) -> str:
    with pytest.raises(AssertionError) as caught:
        assertion(*arguments, **options)
    return str(caught.value)


# assert_healthy -------------------------------------------------------------------------------------------------------


def test_a_healthy_run_is_healthy_by_path_run_and_diagnosis(runs):
    for given in (str(runs["healthy"]), load(runs["healthy"]), diagnose(load(runs["healthy"]))):
        assert_healthy(given)


def test_a_sick_run_fails_with_measurement_remedy_place_and_page(runs):
    lines = failure(assert_healthy, runs["sick"]).splitlines()
    assert lines[0].startswith("sick is sick: ")
    assert lines[1].startswith("  KD202 missing-t-squared: ")
    assert lines[2].startswith("      measured relative_error ")
    assert lines[3:] == [
        "      wanted: multiply the divergence by T², once",
        "      at kd_run.yaml: distillation.temperature_squared",
        "      kddoctor explain KD202",
    ]


def test_a_thin_record_is_no_pass_unless_that_is_allowed(runs):
    message = failure(assert_healthy, runs["thin"])
    assert "cannot be called healthy" in message
    assert "to get an answer: " in message
    assert_healthy(runs["thin"], allow_inconclusive=True)


def test_codes_can_be_chosen_and_ignored(runs):
    assert_healthy(runs["sick"], ignore=["KD2"], allow_inconclusive=True)
    assert "KD202" in failure(assert_healthy, runs["sick"], select=["KD202"])


def test_a_run_that_cannot_be_read_is_no_failed_assertion():
    with pytest.raises(RunError, match="does not exist"):
        assert_healthy("missing")


# assert_teacher_valid -------------------------------------------------------------------------------------------------


def test_a_teacher_that_knows_the_task_is_valid(runs):
    assert_teacher_valid(runs["healthy"], at_least=0.8)
    assert_teacher_valid(teacher_logits=TEACHER, labels=LABELS)
    assert_teacher_valid(teacher_logits=torch.tensor(TEACHER, requires_grad=True), labels=torch.tensor(LABELS))


def test_a_teacher_at_random_is_not(runs):
    assert "KD101 teacher-weights-not-loaded" in failure(assert_teacher_valid, runs["random teacher"])
    untrained = b.untrained(TEACHER, LABELS)
    message = failure(assert_teacher_valid, teacher_logits=untrained, labels=LABELS)
    assert "KD101 teacher-weights-not-loaded" in message
    assert "training loop" not in message


def test_a_teacher_with_another_order_of_classes_is_not():
    moved = TEACHER[:, np.roll(np.arange(10), 1)]
    assert "KD105 label-order-mismatch" in failure(assert_teacher_valid, teacher_logits=moved, labels=LABELS)


def test_a_teacher_below_what_is_wanted_is_too_weak():
    message = failure(
        assert_teacher_valid, teacher_logits=b.forgetting(0.3)(TEACHER, LABELS), labels=LABELS, at_least=0.9
    )
    assert message.startswith("the teacher is too weak: measured accuracy 0.")
    assert message.endswith("wanted at least 0.9")


def test_logits_that_are_not_finite_are_counted():
    broken = TEACHER.copy()
    broken[3, 2] = np.nan
    assert "1 of its 6000 logits are NaN" in failure(assert_teacher_valid, teacher_logits=broken, labels=LABELS)


def test_a_yes_or_no_teacher_is_judged_too():
    labels = LABELS % 2
    assert_teacher_valid(teacher_logits=4.0 * labels - 2 + 0.1 * TEACHER[:, 0], labels=labels)
    assert failure(assert_teacher_valid, teacher_logits=0.01 * ROWS[:, 0], labels=LABELS[:400] % 2)


def test_a_model_is_run_on_data_and_left_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(20), nn.Dropout(0.5), nn.Linear(20, 10)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    data = DataLoader(TensorDataset(torch.tensor(ROWS), torch.tensor(LABELS[:400])), batch_size=64, shuffle=True)
    assert "KD101" in failure(assert_teacher_valid, teacher=model, data=data)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"teacher_logits": TEACHER},
        {"teacher_logits": TEACHER, "labels": LABELS[:5]},
        {"teacher_logits": "logits", "labels": LABELS},
    ],
)
def test_what_cannot_be_judged_is_a_usage_error(given):
    with pytest.raises(UsageError):
        assert_teacher_valid(**given)


# assert_soft_targets_informative --------------------------------------------------------------------------------------


def test_soft_targets_are_informative(runs):
    assert_soft_targets_informative(runs["healthy"])
    assert_soft_targets_informative(teacher_logits=TEACHER, temperature=4)


def test_one_hot_targets_are_not(runs):
    assert "KD301 soft-targets-collapsed" in failure(assert_soft_targets_informative, runs["one-hot"])
    message = failure(assert_soft_targets_informative, teacher_logits=20 * TEACHER, temperature=1)
    assert "wanted: temperature " in message


def test_uniform_targets_are_not():
    message = failure(assert_soft_targets_informative, teacher_logits=0.01 * TEACHER, temperature=1)
    assert "nearly uniform; measured entropy_ratio 1 at T = 1" in message


# assert_loss_sound ----------------------------------------------------------------------------------------------------


def mixed(scale: float, student, teacher, labels):
    kl = F.kl_div(F.log_softmax(student / 4, -1), F.softmax(teacher / 4, -1), reduction="batchmean")
    return 0.1 * F.cross_entropy(student, labels) + 0.9 * scale * kl


def test_a_loss_is_sound_or_not():
    declared = {"loss": "kl", "temperature": 4.0, "alpha": 0.9}
    assert_loss_sound(lambda s, t, y: mixed(16, s, t, y), **declared)
    message = failure(assert_loss_sound, lambda s, t, y: mixed(1, s, t, y), **declared)
    assert "KD202 missing-t-squared: " in message
    assert message.endswith("kddoctor explain KD202")


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
    assert "lie four times closer" in failure(assert_no_leakage, ROWS[:300], ROWS[200:] + np.float32(1e-3))


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


# All of them ----------------------------------------------------------------------------------------------------------


def test_failures_end_at_the_users_own_line(pytester, runs, monkeypatch):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(
        f"""
        from kddoctor.testing import assert_healthy, assert_retention

        def test_sick():
            assert_healthy({str(runs["sick"])!r})

        def test_missing():
            assert_healthy("missing")

        def test_wrong():
            assert_retention()
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest")
    result.assert_outcomes(failed=3)
    places = [line.rsplit(": ", 1) for line in result.outlines if line.startswith("test_") and ".py:" in line]
    assert [(place.split(":")[1], kind) for place, kind in places] == [
        ("4", "AssertionError"),
        ("7", "RunError"),
        ("10", "UsageError"),
    ]
    assert "kddoctor/" not in result.stdout.str()
    result.stdout.fnmatch_lines(["E * KD202 missing-t-squared: *", "E * missing: does not exist; *"])


def test_importing_them_loads_no_torch():
    code = "import sys, kddoctor.testing; print([m for m in ('torch', 'pandas', 'streamlit') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
