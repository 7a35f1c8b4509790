"""The callback sees what a Trainer's compute_loss computes, changes nothing, and its runs are diagnosed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kddoctor
from kddoctor.errors import UsageError
from kddoctor.run.recorder import RecorderWarning

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install kddoctor[integrations]"
)

from kddoctor.integrations import KDDoctorCallback  # noqa: E402
from tests.integrations.sequences import ALPHA, TEMPERATURE, BiLSTM, Sequences, padded, terms, trained_bert  # noqa: E402

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore::FutureWarning")]
MEANT = {"temperature": TEMPERATURE, "alpha": ALPHA}


@pytest.fixture(scope="module")
def teacher() -> Any:
    return trained_bert()


class Distilling(transformers.Trainer):
    """As in every tutorial. t_squared, teacher_trains: its mistakes."""

    def __init__(self, *args: Any, teacher: Any, t_squared: bool = True, teacher_trains: bool = False, **rest: Any):
        super().__init__(*args, **rest)
        self.teacher, self.t_squared = teacher.train(teacher_trains), t_squared

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        labels = inputs.pop(self.label_names[0])
        outputs = model(**inputs)
        with torch.no_grad():
            targets = self.teacher(**inputs).logits
        loss, kd, ce = terms(outputs["logits"], targets, labels, self.t_squared)
        if model.training:
            self.log({"kd_loss": kd.detach().item(), "ce_loss": ce.detach().item()})
        return (loss, outputs) if return_outputs else loss


def trainer(folder: Path, teacher: Any, *, label: str = "labels", mistakes: Any = None, **changes: Any) -> Distilling:
    settings = {
        "output_dir": str(folder / "checkpoints"),
        "num_train_epochs": 6,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 32,
        "learning_rate": 2e-2,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_strategy": "epoch",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
        "label_names": [label],
        "remove_unused_columns": False,
        "max_grad_norm": 0.0,
    }
    transformers.set_seed(3)
    return Distilling(
        BiLSTM(),
        transformers.TrainingArguments(**{**settings, **changes}),
        data_collator=padded,
        train_dataset=Sequences(320, seed=2, labels=label),
        eval_dataset=Sequences(160, seed=5, labels=label),
        teacher=teacher,
        **(mistakes or {}),
    )


def recorded(folder: Path, teacher: Any, **changes: Any) -> Any:
    made = trainer(folder, teacher, **changes)
    made.add_callback(KDDoctorCallback(folder / "run", teacher=teacher, **MEANT))
    made.train()
    return made


def weights(made: Distilling) -> list[torch.Tensor]:
    return [value.clone() for value in made.model.state_dict().values()]


def test_a_sound_trainer_is_healthy_and_as_it_was(teacher, tmp_path):
    plain = trainer(tmp_path, teacher)
    plain.train()
    watched = recorded(tmp_path, teacher)
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(watched), strict=True))
    run = kddoctor.load(tmp_path / "run")
    assert kddoctor.diagnose(run).verdict == "healthy"
    assert (run.predictions("train").n, run.predictions("val").n) == (320, 160)
    held_out = [row for row in run.metrics if row["split"] == "val"]
    assert [row["epoch"] for row in held_out] == [0, 1, 2, 3, 4, 5]
    assert run.manifest.training.learning_rate == 2e-2
    assert "compute_loss" not in vars(watched)


def test_steps_are_what_the_loss_saw(teacher, tmp_path):
    recorded(tmp_path, teacher, num_train_epochs=1)
    steps = kddoctor.load(tmp_path / "run").steps
    for k in range(steps.count):
        s, t = (torch.from_numpy(array[k]) for array in (steps.student_logits, steps.teacher_logits))
        found = terms(s, t, torch.from_numpy(steps.labels[k]))
        np.testing.assert_allclose(
            [float(term) for term in found], [steps.loss[k], steps.kd_loss[k], steps.ce_loss[k]], rtol=1e-4
        )


@pytest.mark.parametrize(("mistake", "code"), [({"t_squared": False}, "KD202"), ({"teacher_trains": True}, "KD103")])
def test_a_mistake_in_compute_loss_is_named(teacher, tmp_path, mistake, code):
    recorded(tmp_path, teacher, mistakes=mistake)
    teacher.eval()
    assert kddoctor.diagnose(kddoctor.load(tmp_path / "run")).cause_codes == [code]


def test_accumulation_clipping_and_other_names_of_labels_are_no_fault(teacher, tmp_path):
    changes = {"gradient_accumulation_steps": 2, "max_grad_norm": 0.5, "label": "target_ids", "warmup_steps": 5}
    recorded(tmp_path, teacher, **changes)
    run = kddoctor.load(tmp_path / "run")
    assert kddoctor.diagnose(run).verdict == "healthy"
    assert run.steps.student_logits.shape[1] == 16
    assert run.manifest.training.batch_size == 32
    held_out = [row["step"] for row in run.metrics if row["split"] == "val"]
    assert held_out == [20, 40, 60, 80, 100, 120], "batches, and not updates"
    np.testing.assert_array_equal(run.predictions("val").labels.read(), [i % 4 for i in range(160)])


def test_the_best_model_loaded_at_the_end_is_no_fault(teacher, tmp_path):
    recorded(tmp_path, teacher, save_strategy="epoch", load_best_model_at_end=True, save_total_limit=1)
    assert kddoctor.diagnose(kddoctor.load(tmp_path / "run")).verdict == "healthy"


class _Stop(transformers.TrainerCallback):
    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.epoch >= 3:
            raise KeyboardInterrupt


def test_a_resumed_training_goes_on_with_its_record(teacher, tmp_path):
    whole = recorded(tmp_path / "whole", teacher, save_strategy="epoch")
    made = trainer(tmp_path / "parts", teacher, save_strategy="epoch")
    callback = KDDoctorCallback(tmp_path / "parts" / "run", teacher=teacher, **MEANT)
    made.add_callback(callback)
    made.add_callback(_Stop())
    with pytest.raises(KeyboardInterrupt):
        made.train()
    callback.recorder.finish()  # as the end of the process does
    again = trainer(tmp_path / "parts", teacher, save_strategy="epoch")
    again.add_callback(KDDoctorCallback(tmp_path / "parts" / "run", teacher=teacher, **MEANT))
    again.train(resume_from_checkpoint=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))
    one, other = (kddoctor.load(tmp_path / name / "run") for name in ("whole", "parts"))
    np.testing.assert_array_equal(one.steps.step, other.steps.step)
    np.testing.assert_allclose(one.steps.loss, other.steps.loss, rtol=1e-6)
    assert [row["epoch"] for row in one.metrics] == [row["epoch"] for row in other.metrics]


def test_a_checkpoint_without_a_record_is_said(teacher, tmp_path):
    trainer(tmp_path, teacher, save_strategy="epoch", num_train_epochs=1).train()
    made = trainer(tmp_path, teacher, num_train_epochs=2)
    made.add_callback(KDDoctorCallback(tmp_path / "run", teacher=teacher, **MEANT))
    with pytest.warns(RecorderWarning, match=r"could not go on with the record of .*checkpoint-20"):
        made.train(resume_from_checkpoint=True)
    assert {row["epoch"] for row in kddoctor.load(tmp_path / "run").metrics} == {1}


def test_a_wrong_option_is_named_before_training(teacher, tmp_path):
    with pytest.raises(TypeError, match="temprature"):
        KDDoctorCallback(tmp_path / "run", teacher=teacher, temprature=4.0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(UsageError, match="is not empty"):
        recorded(tmp_path, teacher)


class DistillingTokens(transformers.Trainer):
    """A causal language model: logits at a position are about the next token, padding does not count."""

    def __init__(self, *args: Any, teacher: Any, **rest: Any):
        super().__init__(*args, **rest)
        self.teacher = teacher

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        with torch.no_grad():
            targets = self.teacher(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        counts = inputs["labels"][:, 1:] != -100
        s, t = outputs.logits[:, :-1][counts], targets[:, :-1][counts]
        loss, kd, ce = terms(s, t, inputs["labels"][:, 1:][counts])
        self.log({"kd_loss": kd.detach().item(), "ce_loss": ce.detach().item()})
        return (loss, outputs) if return_outputs else loss


def test_a_language_models_padding_and_shift_are_taken_into_account(tmp_path):
    def gpt(width: int) -> Any:
        sizes = {"n_embd": width, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 41}
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=40, eos_token_id=40))

    def collated(rows: list[Any]) -> dict[str, torch.Tensor]:
        batch = padded(rows)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        return {**{name: batch[name] for name in ("input_ids", "attention_mask")}, "labels": labels}

    transformers.set_seed(3)
    teacher = gpt(24).eval().requires_grad_(False)
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"),
        num_train_epochs=1,
        per_device_train_batch_size=16,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    made = DistillingTokens(
        gpt(16),
        arguments,
        data_collator=collated,
        train_dataset=Sequences(160, seed=2),
        eval_dataset=Sequences(48, seed=5),
        teacher=teacher,
    )
    made.add_callback(KDDoctorCallback(tmp_path / "run", teacher=teacher, task="tokens", **MEANT))
    made.train()
    run = kddoctor.load(tmp_path / "run")
    steps = run.steps
    for k in range(steps.count):
        counts = torch.from_numpy(steps.mask[k])
        s, t, y = (
            torch.from_numpy(array[k])[counts] for array in (steps.student_logits, steps.teacher_logits, steps.labels)
        )
        np.testing.assert_allclose(float(terms(s, t, y)[0]), steps.loss[k], rtol=1e-4)
    assert run.predictions("val").n == 48
    assert not {"KD801", "KD806"} & set(kddoctor.diagnose(run).cause_codes)
