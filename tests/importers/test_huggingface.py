"""Output directories of Hugging Face's Trainer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

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


def test_the_arguments_are_looked_at_without_unpickling(directory, tmp_path):
    run, imported = brought_in(directory, tmp_path / "run")
    training = run.manifest.training
    assert (training.learning_rate, training.optimizer, training.seed, training.epochs) == (1e-3, "adamw", 42, 3)
    values = "optimizer adamw, learning_rate 0.001, weight_decay 0.0, seed 42"
    assert f"training_args.bin: {values}; looked at without unpickling" in imported.said


class _Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_does_something_does_nothing(directory, tmp_path):
    torch = pytest.importorskip("torch")
    for name, content in (
        ("a", _Touches(tmp_path / "ran")),
        ("b", {"learning_rate": 3.0, "x": _Touches(tmp_path / "ran")}),
    ):
        torch.save(content, directory / "training_args.bin")
        run, imported = brought_in(directory, tmp_path / name)
        assert any(line.startswith("training_args.bin: a pickle, which is not unpickled") for line in imported.left)
        assert run.manifest.training.learning_rate is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"cos\nsystem\n(S'touch ran'\ntR.", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_file_that_is_no_archive_is_said(directory, tmp_path, content):
    (directory / "training_args.bin").write_bytes(content)
    _, imported = brought_in(directory, tmp_path / "run")
    assert any(line.startswith("training_args.bin: a pickle, which is not unpickled") for line in imported.left)


def test_the_arguments_of_an_optimizer_that_did_not_train_are_left_out(directory, tmp_path):
    state = json.loads((directory / "trainer_state.json").read_text())
    for entry in state["log_history"]:
        entry.update({"learning_rate": 10 * entry["learning_rate"]} if "learning_rate" in entry else {})
    (directory / "trainer_state.json").write_text(json.dumps(state))
    run, imported = brought_in(directory, tmp_path / "run")
    assert (run.manifest.training.learning_rate, run.manifest.training.optimizer) == (None, None)
    assert run.manifest.training.seed == 42
    assert any("belong to an optimizer that did not train" in line for line in imported.left + imported.said)


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
