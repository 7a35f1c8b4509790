"""Output directories of Hugging Face's Trainer."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from kddoctor.errors import RunError
from tests.importers.sources import brought_in, curve

pytestmark = pytest.mark.integrations


@pytest.fixture
def directory(written, tmp_path):
    return shutil.copytree(written("huggingface") / "out", tmp_path / "out")


def test_the_curves_are_those_of_trainer_state(directory, tmp_path):
    run, _ = brought_in(directory, tmp_path / "run")
    history = json.loads((directory / "trainer_state.json").read_text())["log_history"]
    assert curve(run, "loss") == [entry["loss"] for entry in history if "loss" in entry]
    assert curve(run, "lr") == [entry["learning_rate"] for entry in history if "learning_rate" in entry]
    assert curve(run, "grad_norm") == [entry["grad_norm"] for entry in history if "grad_norm" in entry]
    assert curve(run, "loss", "val") == [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert curve(run, "student_accuracy", "val") == [e["eval_accuracy"] for e in history if "eval_accuracy" in e]


def test_the_mean_of_the_whole_run_is_no_point_of_the_curve(directory, tmp_path):
    run, _ = brought_in(directory, tmp_path / "run")
    assert "train_loss" in json.loads((directory / "trainer_state.json").read_text())["log_history"][-1]
    assert not any("train_loss" in row for row in run.metrics)
    assert len(curve(run, "loss")) == 6


def test_classes_their_names_epochs_and_parameters_are_known(directory, tmp_path):
    from safetensors import safe_open

    run, _ = brought_in(directory, tmp_path / "run")
    assert (run.manifest.task, run.manifest.num_classes) == ("multiclass", 3)
    assert run.manifest.class_names == ["cat", "dog", "fish"]
    assert run.manifest.training.epochs == 3
    with safe_open(directory / "model.safetensors", "np") as weights:
        count = sum(int(np.prod(weights.get_slice(key).get_shape())) for key in weights.keys())  # noqa: SIM118
    assert run.observations.parameters.student == count


def test_the_pickle_of_the_arguments_is_said_and_not_read(directory, tmp_path):
    (directory / "training_args.bin").write_bytes(
        b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    )
    _, imported = brought_in(directory, tmp_path / "run")
    assert any(line.startswith("training_args.bin: a pickle, which is not read") for line in imported.left)
    assert not (tmp_path / "ran").exists()


def test_a_run_that_only_left_checkpoints_is_read_from_the_last(directory, tmp_path):
    for name in ("trainer_state.json", "config.json", "model.safetensors"):
        (directory / name).unlink()
    run, imported = brought_in(directory, tmp_path / "run")
    assert imported.said[0].startswith("checkpoint-12/trainer_state.json: ")
    assert run.manifest.num_classes == 3
    assert run.observations.parameters.student > 0


def test_logits_that_trainers_predicted_are_taken_from_beside_the_rest(directory, written, tmp_path):
    shutil.copy(written("huggingface") / "predictions.npz", directory)
    run, _ = brought_in(directory, tmp_path / "run")
    assert run.splits == ("val",)
    assert run.manifest.class_names == ["cat", "dog", "fish"]


def test_another_trackers_files_are_mentioned(directory, tmp_path):
    _, imported = brought_in(directory, tmp_path / "run")
    assert "TensorBoard is there, too; give its own directory to import it" in imported.left


def test_its_event_files_hold_the_same_losses(directory, tmp_path):
    losses = curve(brought_in(directory, tmp_path / "a")[0], "loss")
    events, _ = brought_in(directory / "runs", tmp_path / "b")
    assert np.allclose(curve(events, "loss"), losses)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not valid JSON"), ("[]", "holds a list"), ('{"log_history": 3}', "log_history is not a list")],
)
def test_a_broken_state_is_named(directory, tmp_path, text, message):
    (directory / "trainer_state.json").write_text(text)
    with pytest.raises(RunError, match=f"trainer_state.json: {message}"):
        brought_in(directory, tmp_path / "run")


def test_the_state_alone_is_enough(directory, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(directory / "trainer_state.json", alone)
    run, imported = brought_in(alone / "trainer_state.json", tmp_path / "run")
    assert len(curve(run, "loss")) == 6
    assert "config.json: is missing, so the classes are not known" in imported.left


@pytest.mark.parametrize(
    ("config", "task", "classes"),
    [
        ({"architectures": ["GPT2LMHeadModel"], "vocab_size": 99}, "tokens", 99),
        (
            {
                "architectures": ["BertForSequenceClassification"],
                "id2label": {"0": "a", "1": "b"},
                "problem_type": "multi_label_classification",
            },
            "multilabel",
            2,
        ),
        ({"architectures": ["BertModel"], "id2label": {"0": "a", "1": "b"}}, "multiclass", None),
    ],
)
def test_the_head_of_the_model_says_the_task(directory, tmp_path, config, task, classes):
    (directory / "config.json").write_text(json.dumps(config))
    run, _ = brought_in(directory, tmp_path / "run")
    assert (run.manifest.task, run.manifest.num_classes) == (task, classes)
