"""Assertions in users' own tests: what they take, when they fail, and what their messages say."""

from __future__ import annotations

import subprocess
import sys

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
    assert_healthy,
    assert_loss_sound,
    assert_soft_targets_informative,
    assert_teacher_valid,
)
from tests import builders as b
from tests.testing.given import LABELS, ROWS, TEACHER, failure

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
