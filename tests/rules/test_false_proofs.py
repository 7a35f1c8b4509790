"""Losses that must not be taken for something else: each once produced a wrong name at 0.99."""

import numpy as np
import pytest
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file

from kddoctor import diagnose, load
from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses


def diagnosed(tmp_path, **settings):
    return diagnose(load(recorded_run(tmp_path / "run", **settings)))


@pytest.mark.parametrize("terms", [True, False], ids=["terms recorded", "total only"])
@pytest.mark.parametrize("temperature", [1.3, 2.7, 3.3, 17.3])
def test_a_temperature_between_the_grid_points_is_drift_and_nothing_else(tmp_path, temperature, terms):
    assert diagnosed(tmp_path, kd=losses.kl(temperature), terms=terms).cause_codes == ["KD211"]


@pytest.mark.parametrize(("student", "teacher"), [(0.3, 7.7), (0.7, 1.7), (11.0, 1.3)])
def test_two_temperatures_far_from_any_grid_are_drift_and_nothing_else(tmp_path, student, teacher):
    def loss(s, t, y):
        return F.kl_div(F.log_softmax(s / student, -1), F.softmax(t / teacher, -1), reduction="batchmean")

    assert diagnosed(tmp_path, kd=loss).cause_codes == ["KD211"]


def test_targets_of_one_class_have_no_temperature(tmp_path):
    def loss(s, t, y):
        return 16 * F.cross_entropy(s / 4, t.argmax(-1))

    assert "KD301" not in diagnosed(tmp_path, kd=loss).cause_codes


def test_an_unknown_loss_is_given_no_name(tmp_path):
    found = diagnosed(tmp_path, kd=lambda s, t, y: ((s - t).abs() ** 1.37).mean())
    assert (found.verdict, found.cause_codes) == ("inconclusive", [])


@pytest.mark.parametrize("terms", [True, False], ids=["terms recorded", "total only"])
def test_forms_that_are_known_are_named_with_the_total_alone(tmp_path, terms):
    assert diagnosed(tmp_path, kd=losses.kl_over_the_batch(), terms=terms).cause_codes == ["KD206"]


@pytest.mark.parametrize("seed", range(6))
def test_one_recorded_step_proves_nothing_new(tmp_path, seed):
    found = diagnosed(tmp_path, steps=1, seed=seed, kd=losses.kl(times=0.01 + 0.0137 * seed))
    assert found.cause_codes == []


@pytest.mark.parametrize("mix", [(0.3, 0.7), (0.05, 0.95)])
def test_wrong_weights_are_named_although_the_recorded_term_is_right(tmp_path, mix):
    assert diagnosed(tmp_path, mix=mix).cause_codes == ["KD211"]


def test_a_custom_loss_without_t_squared_is_its_authors_business(tmp_path):
    found = diagnosed(tmp_path, kd=losses.kl(scale="1"), declared={"loss": "custom"})
    assert "KD202" not in found.cause_codes


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_no_balance_is_out_of_proportion_where_one_term_alone_is_declared(tmp_path, alpha):
    # A ratio of the declared weights would be nought or infinite, so that any other is as far off.
    assert {"KD201", "KD202", "KD208"}.isdisjoint(diagnosed(tmp_path, declared={"alpha": alpha}).cause_codes)


@pytest.mark.parametrize(("batch", "said"), [(48, True), (20, False)], ids=["part", "whole"])
def test_a_loss_of_rows_that_were_not_recorded_is_held_against_nobody(tmp_path, batch, said):
    """Of 48 rows 20 were kept, and the loss is that of all."""
    folder = recorded_run(tmp_path / "run", batch=48, student=b.forgetting(0.4), training={"batch_size": batch})
    kept = load_file(folder / "steps.safetensors")
    save_file(
        {name: np.ascontiguousarray(value[:, :20]) if value.ndim > 1 else value for name, value in kept.items()},
        folder / "steps.safetensors",
    )
    found = diagnose(load(folder))
    assert ("KD211" in found.cause_codes) is not said
    assert any("record all 48 rows of each batch" in line for line in found.advice) is said
    assert any("no form of loss" in line for line in found.unexplained) is False


def test_a_loss_that_is_of_the_recorded_rows_asks_for_no_others(tmp_path):
    """Four batches of 24 that are accumulated are a batch of 96, and each has its loss."""
    found = diagnosed(tmp_path, student=b.forgetting(0.4), training={"batch_size": 96})
    assert found.verdict == "inconclusive"
    assert not any("rows of each batch" in line for line in found.advice)
