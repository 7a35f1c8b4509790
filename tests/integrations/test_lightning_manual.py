"""Under manual optimisation the Lightning recorder sees the loss that each step trains the student on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import kddoctor
from kddoctor.run.recorder import RecorderWarning

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


class Adversarial(lightning.LightningModule):
    """A student, and a discriminator that tells its logits from the teacher's: two optimizers, stepped in turn.

    weight: of the discriminator's opinion in the student's loss. t_squared: False is the mistake of leaving it out.
    logs_last: the terms are logged when everything is over. accumulate: batches to an update.
    """

    def __init__(
        self, teacher: Any, *, t_squared: bool = True, logs_last: bool = False, accumulate: int = 1, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self.automatic_optimization = False
        self.teacher, self.student, self.discriminator = teacher, small_student(), nn.Linear(10, 1)
        self.t_squared, self.logs_last, self.accumulate = t_squared, logs_last, accumulate

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.teacher.eval()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        inputs, labels = batch
        of_discriminator, of_student = self.optimizers()
        with torch.no_grad():
            targets = self.teacher(inputs).logits
        logits = self.student(inputs)
        self.judge(of_discriminator, logits, targets)
        loss, kd, ce = terms(logits, targets, labels, self.t_squared)
        if not self.logs_last:
            self.log_dict({"train/kd_loss": kd, "train/ce_loss": ce})
        self.learn(of_student, loss, kd, ce)
        if self.logs_last:
            self.log_dict({"train/kd_loss": kd, "train/ce_loss": ce})
        if (batch_idx + 1) % self.accumulate == 0:
            of_student.step()
            of_student.zero_grad()

    def judge(self, optimizer: Any, logits: Any, targets: Any) -> None:
        real, fake = self.discriminator(targets / 10), self.discriminator(logits.detach() / 10)
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def learn(self, optimizer: Any, loss: Any, kd: Any, ce: Any) -> None:
        self.manual_backward(loss)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, labels = batch
        self.log("val_acc", (self.student(inputs).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.SGD(self.discriminator.parameters(), 0.01),
            torch.optim.AdamW(self.student.parameters(), 4e-3),
        ]


class TermByTerm(Adversarial):
    """Every term goes backward on its own; gradients add up."""

    def learn(self, optimizer: Any, loss: Any, kd: Any, ce: Any) -> None:
        self.manual_backward(ALPHA * kd, retain_graph=True)
        self.manual_backward((1 - ALPHA) * ce)


class InTurn(Adversarial):
    """Every term has an update of its own."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.batch = batch

    def learn(self, optimizer: Any, loss: Any, kd: Any, ce: Any) -> None:
        self.manual_backward(kd)
        optimizer.step()
        optimizer.zero_grad()
        inputs, labels = self.batch
        self.manual_backward(F.cross_entropy(self.student(inputs), labels))


def fit(folder: Path, module: Any, *callbacks: Any, epochs: int = 12, **changes: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    settings = {"max_epochs": epochs, "enable_checkpointing": False, "default_root_dir": folder, **quiet}
    ckpt = changes.pop("ckpt", None)
    trainer = lightning.Trainer(callbacks=list(callbacks), **{**settings, **changes})
    trainer.fit(module, DataLoader(TRAIN, 48, shuffle=True), DataLoader(VAL, 100), ckpt_path=ckpt)
    return module


def made(kind: Any, teacher: Any, **options: Any) -> Any:
    lightning.seed_everything(3, verbose=False)
    return kind(teacher, **options)


def weights(module: Any) -> list[torch.Tensor]:
    kept = (module.student, module.discriminator)
    return [value.clone() for part in kept for value in part.state_dict().values()]


def check_terms(steps: Any) -> None:
    """The loss is what the loop makes of its terms, on every recorded step."""
    np.testing.assert_allclose(ALPHA * steps.kd_loss + (1 - ALPHA) * steps.ce_loss, steps.loss, rtol=1e-5)


@pytest.mark.parametrize("kind", [Adversarial, TermByTerm])
def test_a_sound_module_with_two_optimizers_is_healthy_and_as_it_was(teacher, tmp_path, kind):
    plain = fit(tmp_path, made(kind, teacher))
    watched = fit(tmp_path, made(kind, teacher), LightningRecorder(tmp_path / "run", **MEANT))
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(watched), strict=True))
    run = kddoctor.load(tmp_path / "run")
    check_terms(run.steps)
    assert kddoctor.diagnose(run).verdict == "healthy"
    assert (run.manifest.training.optimizer, run.manifest.training.learning_rate) == ("adamw", pytest.approx(4e-3))
    assert run.observations.parameters_without_gradient == []
    assert [row["step"] for row in run.metrics if row["split"] == "val"] == [10 * epoch for epoch in range(1, 13)]
    assert not {"training_step", "log"} & vars(watched).keys()
    assert "_backward" not in torch.autograd.backward.__qualname__


def test_a_loss_before_its_backward_shows_the_gradients_of_its_terms(teacher, tmp_path):
    fit(tmp_path, made(Adversarial, teacher), LightningRecorder(tmp_path / "run", **MEANT), epochs=2)
    steps = kddoctor.load(tmp_path / "run").steps
    assert steps.step.tolist() == list(range(1, 20)), "the first step shows how the loop works"
    assert np.isfinite(steps.kd_grad_norm).all()


@pytest.mark.parametrize("accumulate", [1, 4])
def test_terms_that_are_logged_last_are_not_missed(teacher, tmp_path, accumulate):
    module = made(Adversarial, teacher, logs_last=True, accumulate=accumulate)
    fit(tmp_path, module, LightningRecorder(tmp_path / "run", **MEANT), epochs=2)
    steps = kddoctor.load(tmp_path / "run").steps
    check_terms(steps)
    for k in range(steps.count):
        ce = F.cross_entropy(torch.from_numpy(steps.student_logits[k]), torch.from_numpy(steps.labels[k]))
        assert float(ce) == pytest.approx(steps.ce_loss[k], rel=1e-5), "labels and logits are those of the loss"


def test_a_missing_t_squared_is_named(teacher, tmp_path):
    module = made(Adversarial, teacher, t_squared=False)
    fit(tmp_path, module, LightningRecorder(tmp_path / "run", **MEANT))
    assert kddoctor.diagnose(kddoctor.load(tmp_path / "run")).cause_codes[:1] == ["KD202"]


def test_updates_between_two_losses_are_said_and_not_recorded(teacher, tmp_path):
    with pytest.warns(RecorderWarning, match="could not record 10 training steps: optimizers step between two losses"):
        fit(tmp_path, made(InTurn, teacher), LightningRecorder(tmp_path / "run", **MEANT), epochs=1)
    assert kddoctor.load(tmp_path / "run").steps is None


class _Stop(lightning.Callback):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 3:
            raise RuntimeError("the machine went away")


def test_a_resumed_training_goes_on_with_its_record(teacher, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    def watching(*others: Any, **options: Any) -> None:
        saving = ModelCheckpoint(tmp_path / "saved", filename="last", enable_version_counter=False)
        callbacks = (saving, LightningRecorder(tmp_path / "run", **MEANT), *others)
        fit(tmp_path, made(Adversarial, teacher), *callbacks, epochs=6, enable_checkpointing=True, **options)

    with pytest.raises(RuntimeError, match="went away"):
        watching(_Stop())
    watching(ckpt=tmp_path / "saved" / "last.ckpt")
    run = kddoctor.load(tmp_path / "run")
    rows = [row for row in run.metrics if row["split"] == "train"]
    assert {row["epoch"] for row in rows} == set(range(6))
    assert run.observations.model_extra["recorded_steps"] == 60
    check_terms(run.steps)
