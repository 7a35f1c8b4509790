"""The pages on recording with other trainers, run as they are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import kddoctor
from tests.docs.blocks import blocks

os.environ.setdefault("KERAS_BACKEND", "torch")

pytestmark = [
    pytest.mark.integrations,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings(
        "ignore:The number of training batches",
        "ignore:.*does not have many workers",
        "ignore:.*in eval mode",
        "ignore:.*treespec",
    ),
]


def run_page(page: str, names: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)


def verdict(folder: Path, run: str = "x") -> str:
    return kddoctor.diagnose(kddoctor.load(folder / "runs" / run)).verdict


def test_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from tests.integrations.sequences import Sequences, padded, small_bert, trained_bert

    transformers.set_seed(3)
    names = {
        "teacher": trained_bert(),
        "student": small_bert(),
        "train_data": Sequences(320, seed=2),
        "val_data": Sequences(160, seed=5),
        "collator": padded,
        "args": transformers.TrainingArguments(
            str(tmp_path / "out"),
            num_train_epochs=8,
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
    }
    run_page("record-huggingface.md", names, tmp_path, monkeypatch)
    assert verdict(tmp_path) == "healthy"


def test_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from torch.utils.data import DataLoader

    from tests.integrations.images import digits, small_student, trained_resnet

    teacher, (train, val) = trained_resnet(), digits()
    lightning.seed_everything(3, verbose=False)
    names = {
        "teacher": teacher,
        "student": small_student(),
        "train_loader": DataLoader(train, 48, shuffle=True),
        "val_loader": DataLoader(val, 100),
    }
    run_page("record-lightning.md", names, tmp_path, monkeypatch)
    assert verdict(tmp_path) == "healthy"
    assert torch.is_grad_enabled()


def test_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras = pytest.importorskip("keras", reason="keras is not installed")
    if not hasattr(keras, "distillation"):
        pytest.skip("this Keras has no keras.distillation")
    from tests.integrations.keras_distillations import digits, distillation, perceptron, trained_teacher

    teacher, (train, val) = trained_teacher(), digits()
    keras.utils.set_random_seed(0)
    names = {
        "teacher": teacher,
        "student": perceptron(32, 0.02),
        "train": train,
        "val": val,
        "model": distillation(teacher),
    }
    run_page("record-keras.md", names, tmp_path, monkeypatch)
    assert [verdict(tmp_path, run) for run in ("x", "y")] == ["healthy", "healthy"]
