"""The Lightning recorder sees what training_step computes, changes nothing, and its runs are diagnosed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import kddoctor
from kddoctor.errors import UsageError

lightning = pytest.importorskip("lightning", reason="lightning is not installed: pip install kddoctor[integrations]")
pytest.importorskip("transformers", reason="transformers is not installed: pip install kddoctor[integrations]")

from kddoctor.integrations import LightningRecorder  # noqa: E402
from tests.integrations.images import digits, small_student, trained_resnet  # noqa: E402
from tests.integrations.sequences import ALPHA, TEMPERATURE, terms  # noqa: E402

pytestmark = [
    pytest.mark.integrations,
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*in eval mode", "ignore:.*treespec"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint", "ignore:.*Checkpoint directory"),
]
MEANT = {"temperature": TEMPERATURE, "alpha": ALPHA}
TRAIN, VAL = digits()


@pytest.fixture(scope="module")
def teacher() -> Any:
    return trained_resnet()


class Distilling(lightning.LightningModule):
    """t_squared, teacher_trains: its mistakes; a teacher that is an attribute is set to training mode by Lightning."""

    def __init__(self, teacher: Any, *, t_squared: bool = True, teacher_trains: bool = False, logs: bool = True):
        super().__init__()
        self.teacher, self.student = teacher, small_student()
        self.t_squared, self.teacher_trains, self.logs = t_squared, teacher_trains, logs

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.teacher.train(self.teacher_trains)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, labels = batch
        with torch.no_grad():
            targets = self.teacher(inputs).logits
        loss, kd, ce = terms(self.student(inputs), targets, labels, self.t_squared)
        if not self.logs:
            return {"loss": loss, "kd_loss": kd, "ce_loss": ce}
        self.log_dict({"train/kd_loss": kd, "train/ce_loss": ce})
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, labels = batch
        self.log("val_acc", (self.student(inputs).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.student.parameters(), 1e-2)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)]


def fit(folder: Path, teacher: Any, *callbacks: Any, epochs: int = 12, ckpt: Any = None, **changes: Any) -> Distilling:
    mistakes = {name: changes.pop(name) for name in ("t_squared", "teacher_trains", "logs") if name in changes}
    lightning.seed_everything(3, verbose=False)
    module = Distilling(teacher, **mistakes)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    settings = {"max_epochs": epochs, "enable_checkpointing": False, "default_root_dir": folder, **quiet, **changes}
    trainer = lightning.Trainer(callbacks=list(callbacks), **settings)
    loaders = DataLoader(TRAIN, 48, shuffle=True), DataLoader(VAL, 100)
    trainer.fit(module, *loaders, ckpt_path=ckpt)
    teacher.eval()
    return module


def weights(module: Distilling) -> list[torch.Tensor]:
    return [value.clone() for value in module.student.state_dict().values()]


def test_a_sound_module_is_healthy_and_as_it_was(teacher, tmp_path):
    plain = fit(tmp_path, teacher)
    watched = fit(tmp_path, teacher, LightningRecorder(tmp_path / "run", **MEANT))
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(watched), strict=True))
    run = kddoctor.load(tmp_path / "run")
    assert kddoctor.diagnose(run).verdict == "healthy"
    assert (run.predictions("train").n, run.predictions("val").n) == (480, 400)
    training = run.manifest.training
    assert (training.epochs, training.batch_size, training.seed) == (12, 48, 3)
    assert training.learning_rate == pytest.approx(1e-2)
    held_out = [row for row in run.metrics if row["split"] == "val"]
    assert [row["epoch"] for row in held_out] == list(range(12))
    assert held_out[-1]["student_accuracy"] > 0.8
    assert not {"training_step", "log"} & vars(watched).keys()


@pytest.mark.parametrize("logs", [True, False])
def test_terms_are_those_that_are_logged_or_returned(teacher, tmp_path, logs):
    changes = {"logs": logs, "accumulate_grad_batches": 2}
    fit(tmp_path, teacher, LightningRecorder(tmp_path / "run", **MEANT), epochs=1, **changes)
    run = kddoctor.load(tmp_path / "run")
    steps = run.steps
    assert [row["step"] for row in run.metrics if row["split"] == "val"] == [10], "batches, and not the five updates"
    assert run.manifest.training.batch_size == 96
    np.testing.assert_allclose(ALPHA * steps.kd_loss + (1 - ALPHA) * steps.ce_loss, steps.loss, rtol=1e-5)
    assert steps.kd_grad_norm is not None


@pytest.mark.parametrize(("mistake", "code"), [("t_squared", "KD202"), ("teacher_trains", "KD103")])
def test_a_mistake_in_training_step_is_named(teacher, tmp_path, mistake, code):
    watching = LightningRecorder(tmp_path / "run", teacher=teacher, **MEANT)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    fit(tmp_path, teacher, watching, **{mistake: mistake == "teacher_trains"})
    teacher.load_state_dict(before)
    assert kddoctor.diagnose(kddoctor.load(tmp_path / "run")).cause_codes[:1] == [code]


class _Stop(lightning.Callback):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 4:
            raise RuntimeError("the machine went away")


def test_a_resumed_training_goes_on_with_its_record(teacher, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    def saving() -> Any:
        return ModelCheckpoint(tmp_path / "saved", filename="last", enable_version_counter=False)

    fit(tmp_path, teacher, LightningRecorder(tmp_path / "whole", **MEANT), epochs=6)
    with pytest.raises(RuntimeError, match="went away"):
        fit(
            tmp_path,
            teacher,
            *(saving(), LightningRecorder(tmp_path / "parts", **MEANT), _Stop()),
            epochs=6,
            enable_checkpointing=True,
        )
    assert kddoctor.load(tmp_path / "parts").predictions("val").n  # what there was is written
    fit(
        tmp_path,
        teacher,
        *(saving(), LightningRecorder(tmp_path / "parts", **MEANT)),
        epochs=6,
        ckpt=tmp_path / "saved" / "last.ckpt",
        enable_checkpointing=True,
    )
    one, other = (kddoctor.load(tmp_path / name) for name in ("whole", "parts"))
    np.testing.assert_array_equal(one.steps.step, other.steps.step)
    assert [row["epoch"] for row in one.metrics] == [row["epoch"] for row in other.metrics]


def test_a_module_without_the_attribute_is_refused_before_training(teacher, tmp_path):
    with pytest.raises(UsageError, match="Distilling has no module 'professor'; pass teacher="):
        fit(tmp_path, teacher, LightningRecorder(tmp_path / "run", teacher="professor", **MEANT))
    with pytest.raises(TypeError, match="temprature"):
        LightningRecorder(tmp_path / "run", temprature=4.0)
