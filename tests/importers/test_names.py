"""What loggers and settings files call things, and which of these names are certain."""

from __future__ import annotations

import math

import pytest

from kddoctor.importers.metric_names import accuracy_as_share, meaning, meanings, rows_of
from kddoctor.importers.setting_names import settings_of


@pytest.mark.parametrize(
    ("name", "split", "key"),
    [
        ("loss", "train", "loss"),
        ("train/loss", "train", "loss"),
        ("train_loss_step", "train", "loss"),
        ("eval_loss", "val", "loss"),
        ("val_acc", "val", "student_accuracy"),
        ("validation/accuracy", "val", "student_accuracy"),
        ("test_acc1", "test", "student_accuracy"),
        ("train/distillation_loss", "train", "kd_loss"),
        ("loss_ce", "train", "ce_loss"),
        ("learning_rate", "train", "lr"),
        ("lr-SGD", "train", "lr"),
        ("lr-AdamW/pg1", "train", "lr"),
        ("epoch_accuracy", "train", "student_accuracy"),
        ("eval/agreement", "val", "agreement"),
        ("lr-SGD-momentum", "train", "lr-SGD-momentum"),
        ("eval_runtime", "val", "eval_runtime"),
        ("my metric", "train", "my metric"),
        ("train/step", "train", "train/step"),
        ("step", "train", "logged step"),
    ],
)
def test_a_logged_name_means(name, split, key):
    assert (meaning(name).split, meaning(name).key) == (split, key)


def test_of_a_value_by_step_and_by_epoch_training_takes_the_steps_and_held_out_rows_the_epochs():
    names = meanings(["train_loss_step", "train_loss_epoch", "val_loss_step", "val_loss_epoch"])
    assert [name for name, one in names.items() if one.key == "loss"] == ["train_loss_step", "val_loss_epoch"]


def test_a_name_that_is_taken_keeps_its_own():
    names = meanings(["accuracy", "acc", "student_accuracy"])
    assert {name for name, one in names.items() if one.key == "student_accuracy"} == {"student_accuracy"}
    assert {one.key for one in names.values()} == {"accuracy", "acc", "student_accuracy"}


def test_values_of_one_step_become_a_row_for_each_split():
    names = meanings(["train/loss", "val/acc", "epoch"])
    rows = rows_of({"train/loss": 1.5, "val/acc": 0.5, "epoch": 3.0}, names, step=7)
    assert rows == [
        {"split": "train", "step": 7, "epoch": 3.0, "loss": 1.5},
        {"split": "val", "step": 7, "epoch": 3.0, "student_accuracy": 0.5},
    ]


@pytest.mark.parametrize(
    ("logged", "kept"),
    [
        ([0.2, 0.9], [0.2, 0.9]),
        ([20.0, 90.0], [0.2, 0.9]),
        ([0.5, 90.0], [0.005, 0.9]),
        ([150.0, 20.0], [150.0, 20.0]),
        ([1.0, math.inf], [1.0, math.inf]),
    ],
)
def test_accuracy_is_a_share_where_any_value_says_percent(logged, kept):
    rows, note = accuracy_as_share([{"split": "val", "student_accuracy": value} for value in logged])
    assert [row["student_accuracy"] for row in rows] == kept
    assert (note is None) == (logged == kept)


def test_certain_settings_are_taken_from_any_depth_also_as_text():
    found = settings_of({"optim": {"lr": "0.05", "weight_decay": 1e-4}, "model": {"num_classes": "10"}, "seed": 3}, "f")
    assert found.training == {"learning_rate": 0.05, "weight_decay": 1e-4, "seed": 3}
    assert (found.num_classes, found.unsure) == (10, ())


def test_trackers_write_levels_into_the_name():
    assert settings_of({"kd/temperature": "4", "model.n_classes": 5}, "f").distillation == {"temperature": 4.0}


def test_the_outermost_of_two_is_taken_and_of_equals_none():
    assert settings_of({"lr": 0.1, "other": {"lr": 0.2}}, "f").training == {"learning_rate": 0.1}
    found = settings_of({"a": {"lr": 0.1}, "b": {"lr": 0.2}}, "f")
    assert found.training == {}
    assert found.unsure == ("f: a.lr, b.lr differ; none is taken",)


@pytest.mark.parametrize("name", ["teacher", "generation_config", "sampling", "eval"])
def test_settings_of_something_else_are_not_taken(name):
    found = settings_of({name: {"temperature": 0.7, "lr": 0.1}, f"{name}_lr": 1.0}, "f")
    assert (found.distillation, found.training) == ({}, {})


def test_the_temperature_of_a_language_models_sampling_is_not_the_distillations():
    assert settings_of({"temperature": 1.0, "transformers_version": "4.40"}, "f").distillation == {}


def test_alpha_alone_is_not_certain():
    found = settings_of({"alpha": 0.9}, "f")
    assert found.distillation == {}
    assert "whether it weighs the teacher's term or the labels' is not certain (--alpha)" in found.unsure[0]


def test_both_weights_together_are():
    assert settings_of({"kd_weight": 0.8, "ce_weight": 0.2}, "f").distillation == {"alpha": 0.8}
    found = settings_of({"kd_weight": 1.0, "ce_weight": 1.0}, "f")
    assert found.distillation == {}
    assert "they do not sum to one" in found.unsure[0]


@pytest.mark.parametrize("value", [-1, "many", True, float("nan")])
def test_a_value_that_cannot_be_is_said_and_not_taken(value):
    found = settings_of({"epochs": value}, "f")
    assert found.training == {}
    assert found.unsure[0].startswith("f: epochs is ")


def test_the_batch_size_of_one_process_is_not_the_batch_size():
    found = settings_of({"per_device_train_batch_size": 8}, "f")
    assert found.training == {}
    assert "of one process" in found.unsure[0]
