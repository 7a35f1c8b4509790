"""Sequences whose class is the marker that they hold: a BERT from a config teaches, a BiLSTM learns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

CLASSES, VOCABULARY, MAX_LENGTH = 4, 40, 12
TEMPERATURE, ALPHA = 3.0, 0.7


class Sequences(Dataset[dict[str, Any]]):
    """Lists of tokens of different lengths. labels: the name of that key; noise: share of wrong ones."""

    def __init__(self, rows: int, seed: int, labels: str = "labels") -> None:
        draw = torch.Generator().manual_seed(seed)
        self.rows = []
        for index in range(rows):
            label, length = index % CLASSES, int(torch.randint(5, MAX_LENGTH + 1, (), generator=draw))
            tokens = torch.randint(10, VOCABULARY, (length,), generator=draw)
            tokens[torch.randint(length, (2,), generator=draw)] = 1 + label
            self.rows.append({"input_ids": tokens.tolist(), labels: label})
        self.label = labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def padded(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch, as DataCollatorWithPadding makes it."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    batch = {"input_ids": nn.utils.rnn.pad_sequence(ids, batch_first=True)}
    batch["attention_mask"] = (batch["input_ids"] > 0).long()
    label = next(name for name in rows[0] if name != "input_ids")
    return {**batch, label: torch.tensor([row[label] for row in rows])}


class BiLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 12, batch_first=True, bidirectional=True)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        states, _ = self.lstm(self.embedding(input_ids))
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states + (weights - 1) * 9).amax(1)
        return {"logits": self.head(pooled)}


def bert(width: int, dropout: float) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=MAX_LENGTH,
        num_labels=CLASSES,
        hidden_dropout_prob=dropout,
    )
    return BertForSequenceClassification(config)


def small_bert() -> Any:
    return bert(24, 0.02)


def trained_bert() -> Any:
    torch.manual_seed(1)
    teacher = bert(32, 0.3)
    data = Sequences(256, seed=0)
    optimizer = torch.optim.Adam(teacher.parameters(), 3e-3)
    for _ in range(12):
        for start in range(0, 256, 64):
            loss = teacher(**padded(data.rows[start : start + 64])).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return teacher.eval().requires_grad_(False)


def terms(student: Tensor, teacher: Tensor, labels: Tensor, t_squared: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """(total, distillation term, hard-label term). t_squared: False is the mistake of leaving it out."""
    kd = F.kl_div(
        F.log_softmax(student / TEMPERATURE, -1),
        F.log_softmax(teacher / TEMPERATURE, -1),
        reduction="batchmean",
        log_target=True,
    ) * (TEMPERATURE**2 if t_squared else 1.0)
    ce = F.cross_entropy(student, labels)
    return ALPHA * kd + (1 - ALPHA) * ce, kd, ce
