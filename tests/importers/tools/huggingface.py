"""Trains a tiny classifier with transformers' Trainer. ``python -m tests.importers.tools.huggingface DIRECTORY``.

DIRECTORY/out is what the Trainer leaves; DIRECTORY/predictions.npz what the code of docs/import.md saves in it.
"""

import os
import re
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

NAMES = ("cat", "dog", "fish")
PAGE = Path(__file__).parents[3] / "docs/import.md"


def main(directory: str) -> None:
    os.chdir(directory)
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            id2label=dict(enumerate(NAMES)),
            label2id={name: number for number, name in enumerate(NAMES)},
        )
    )
    rows = [{"input_ids": torch.randint(0, 50, (6,)), "labels": torch.tensor(i % 3)} for i in range(32)]
    arguments = TrainingArguments(
        "out",
        num_train_epochs=3,
        per_device_train_batch_size=8,
        logging_steps=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to=["tensorboard"],
        use_cpu=True,
        learning_rate=1e-3,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    (saving,) = re.findall(r"```python\n(teacher_logits = .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(saving, {"np": np, "trainer": trainer, "teacher_trainer": trainer, "eval_data": rows})
    Path("out/predictions.npz").rename("predictions.npz")


if __name__ == "__main__":
    main(sys.argv[1])
