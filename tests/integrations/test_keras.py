"""The Keras recorder sees the loss as train_step computes it, changes nothing, and its runs are diagnosed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kddoctor
from kddoctor.errors import UsageError
from kddoctor.run.recorder import RecorderWarning

keras = pytest.importorskip("keras", reason="keras is not installed: pip install kddoctor[integrations]")

from kddoctor.integrations import KerasRecorder  # noqa: E402
from tests.integrations.keras_distillations import (  # noqa: E402
    ALPHA,
    TEMPERATURE,
    TRAIN_STEPS,
    digits,
    distillation,
    distiller,
    trained_teacher,
    weights,
)

pytestmark = [
    pytest.mark.integrations,
    # Of numpy about the way in which Keras reads torch tensors.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
TRAIN, VAL = digits()
MEANT = {"temperature": TEMPERATURE, "alpha": ALPHA}


@pytest.fixture(scope="module")
def teacher() -> Any:
    return trained_teacher()


def recorder(path: Path, **options: Any) -> Any:
    return KerasRecorder(path, **{"train_data": TRAIN, "val_data": VAL, **options})


def fitted(model: Any, *callbacks: Any, **options: Any) -> Any:
    model.fit(*TRAIN, **{"epochs": 5, "batch_size": 64, "verbose": 0, **options}, callbacks=list(callbacks))
    return model


def causes(path: Path) -> list[str]:
    return kddoctor.diagnose(kddoctor.load(path)).cause_codes


def test_a_sound_train_step_is_healthy_and_as_it_was(teacher, tmp_path):
    plain = weights(fitted(distillation(teacher)))
    watched = weights(fitted(distillation(teacher), recorder(tmp_path / "run", **MEANT)))
    assert all(np.array_equal(a, b) for a, b in zip(plain, watched, strict=True))
    run = kddoctor.load(tmp_path / "run")
    assert kddoctor.diagnose(run).verdict == "healthy"
    assert 16 <= run.steps.count <= 32
    assert run.steps.ce_loss is not None
    assert (run.observations.teacher_training, run.observations.teacher_drift) == (False, 0.0)
    assert run.observations.same_inputs is True
    assert [len(run.fingerprints(split)) for split in ("train", "val")] == [len(TRAIN[0]), len(VAL[0])]
    assert not list(tmp_path.glob(".run*"))


def test_steps_are_what_the_loss_saw(teacher, tmp_path):
    fitted(distillation(teacher), recorder(tmp_path / "run", **MEANT), epochs=1)
    steps = kddoctor.load(tmp_path / "run").steps
    np.testing.assert_allclose(ALPHA * steps.kd_loss + (1 - ALPHA) * steps.ce_loss, steps.loss, rtol=1e-5)
    np.testing.assert_allclose(steps.teacher_logits_check.read(), steps.teacher_logits.read(), atol=1e-5)


def test_a_train_step_in_the_words_of_its_backend_is_recorded_and_as_it_was(teacher, tmp_path):
    kind = TRAIN_STEPS[keras.config.backend()]
    plain = weights(fitted(distillation(teacher, kind), epochs=2))
    watched = weights(fitted(distillation(teacher, kind), recorder(tmp_path / "run", **MEANT), epochs=2))
    assert all(np.array_equal(a, b) for a, b in zip(plain, watched, strict=True))
    steps = kddoctor.load(tmp_path / "run").steps
    assert steps.count >= 16
    np.testing.assert_allclose(ALPHA * steps.kd_loss + (1 - ALPHA) * steps.ce_loss, steps.loss, rtol=1e-5)


@pytest.mark.parametrize(("mistake", "code"), [({"t_squared": False}, "KD202"), ({"teacher_trains": True}, "KD103")])
def test_a_mistake_in_train_step_is_named(teacher, tmp_path, mistake, code):
    fitted(distillation(teacher, **mistake), recorder(tmp_path / "run", **MEANT))
    assert causes(tmp_path / "run") == [code]


@pytest.mark.skipif(not hasattr(keras, "distillation"), reason="this Keras has no keras.distillation")
def test_a_distiller_says_itself_what_it_is_meant_to_do(teacher, tmp_path):
    model = fitted(distiller(teacher), recorder(tmp_path / "run"), validation_data=VAL)
    run = kddoctor.load(tmp_path / "run")
    assert kddoctor.diagnose(run).verdict == "healthy"
    meant = run.manifest.distillation
    assert (meant.temperature, meant.alpha) == (TEMPERATURE, pytest.approx(ALPHA))
    assert (run.manifest.training.optimizer, run.manifest.training.epochs) == ("adam", 5)
    held_out = [row for row in run.metrics if row["split"] == "val"]
    assert [row["epoch"] for row in held_out] == [0, 1, 2, 3, 4]
    answers = model.student.predict(VAL[0], verbose=0)
    np.testing.assert_allclose(run.predictions("val").student_logits.read(), answers, atol=1e-4)


class _Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_restored_training_goes_on_with_its_record(teacher, tmp_path):
    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        fitted(distillation(teacher), backup(), recorder(tmp_path / "run", **MEANT), _Stop())
    assert not (tmp_path / "run").exists()
    fitted(distillation(teacher), backup(), recorder(tmp_path / "run", **MEANT))
    run = kddoctor.load(tmp_path / "run")
    epochs = [row["epoch"] for row in run.metrics if row["split"] == "train"]
    assert epochs == sorted(epochs)
    assert set(epochs) == {0, 1, 2, 3, 4}
    assert len(set(run.steps.step.tolist())) == run.steps.count
    assert run.steps.step.max() > 3 * len(TRAIN[0]) / 64
    assert causes(tmp_path / "run") == []


def test_a_second_fit_goes_on_with_its_record(teacher, tmp_path):
    model, record = distillation(teacher), recorder(tmp_path / "run", **MEANT)
    fitted(model, record, epochs=2)
    fitted(model, record, epochs=4, initial_epoch=2)
    assert {row["epoch"] for row in kddoctor.load(tmp_path / "run").metrics} == {0, 1, 2, 3}


def test_a_directory_that_is_taken_is_refused_before_training(teacher, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(UsageError, match="is not empty"):
        fitted(distillation(teacher), recorder(tmp_path / "run", **MEANT))


def test_data_that_can_be_read_once_are_refused(tmp_path):
    with pytest.raises(UsageError, match="train_data is a generator"):
        KerasRecorder(tmp_path / "run", train_data=(pair for pair in [TRAIN]))
    with pytest.raises(UsageError, match="needs train_data or val_data"):
        KerasRecorder(tmp_path / "run")


def test_what_cannot_be_recorded_does_not_stop_the_training(teacher, tmp_path):
    odd = (TRAIN[0][:, :7], TRAIN[1])
    with pytest.warns(RecorderWarning) as told:
        fitted(distillation(teacher), recorder(tmp_path / "run", train_data=odd, **MEANT), epochs=2)
    # However many steps there were.
    assert [str(w.message).split(":")[0] for w in told if w.category is RecorderWarning] == [
        "kddoctor could not record a training step",
        f"kddoctor could not write {tmp_path / 'run'}",
    ]
    assert {str(warning.message).count("\n") for warning in told} == {0}
    assert not (tmp_path / "run").exists()


def test_a_py_dataset_and_a_data_loader_serve_as_well(teacher, tmp_path):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> Any:
            rows = slice(32 * index, 32 * index + 32)
            return TRAIN[0][rows], TRAIN[1][rows]

    loader = DataLoader(TensorDataset(*map(torch.from_numpy, VAL)), 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyDataset asks for super().__init__(**kwargs)
        record = KerasRecorder(tmp_path / "run", train_data=Batches(), val_data=loader, **MEANT)
    fitted(distillation(teacher), record, epochs=1)
    run = kddoctor.load(tmp_path / "run")
    assert (run.predictions("train").n, run.predictions("val").n) == (320, len(VAL[0]))
    np.testing.assert_array_equal(run.predictions("val").labels.read(), VAL[1])
