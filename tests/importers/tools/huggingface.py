"""Distils a tiny classifier with transformers' Trainer. ``python -m tests.importers.tools.huggingface DIRECTORY``."""

import sys

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

NAMES = ("cat", "dog", "fish")


def main(directory: str) -> None:
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
        directory,
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


if __name__ == "__main__":
    main(sys.argv[1])
