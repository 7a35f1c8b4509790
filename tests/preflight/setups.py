"""Small sound set-ups of several tasks, trained in a moment, for tests to spoil."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

CLASSES, WIDTH, VOCABULARY, LENGTH = 6, 12, 20, 9
TEMPERATURE, ALPHA = 3.0, 0.8


def kd_loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Hinton's loss, as it should be."""
    soft = F.kl_div(
        F.log_softmax(student / TEMPERATURE, -1), F.softmax(teacher / TEMPERATURE, -1), reduction="batchmean"
    )
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(student, labels)


def yes_no_loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The same for logits that each say yes or no."""
    s, t = student / TEMPERATURE, teacher / TEMPERATURE
    p = torch.sigmoid(t)
    soft = (p * (F.logsigmoid(t) - F.logsigmoid(s)) + (1 - p) * (F.logsigmoid(-t) - F.logsigmoid(-s))).mean()
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.binary_cross_entropy_with_logits(student, labels.float())


def token_loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The same over the positions that count."""
    counts = labels != -100
    return kd_loss(student[counts], teacher[counts], labels[counts])


class Reader(nn.Module):
    """Reads tokens [B, L] and says at each position which comes next."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        del attention_mask  # a model of pairs needs none
        logits: Tensor = self.head(self.embedding(input_ids).relu())
        return logits


class OneScore(nn.Module):
    """[B, WIDTH] to [B] or [B, k] scores."""

    def __init__(self, width: int, scores: int | None) -> None:
        super().__init__()
        self.scores = scores
        self.layers = nn.Sequential(nn.Linear(WIDTH, width), nn.ReLU(), nn.Linear(width, scores or 1))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.layers(x)
        return z if self.scores else z[:, 0]


def _inputs(rows: int, seed: int) -> tuple[Tensor, torch.Generator]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, WIDTH, generator=draw), draw


def classed(rows: int, seed: int) -> TensorDataset:
    """Six overlapping clouds."""
    noise, draw = _inputs(rows, seed)
    labels = torch.randint(CLASSES, (rows,), generator=draw)
    centres = 2.2 * torch.eye(CLASSES, WIDTH)
    return TensorDataset(centres[labels] + noise, labels)


def yes_or_no(rows: int, seed: int) -> TensorDataset:
    """Two overlapping clouds."""
    noise, draw = _inputs(rows, seed)
    labels = torch.randint(2, (rows,), generator=draw)
    return TensorDataset(noise + 0.8 * labels[:, None], labels)


def many_answers(rows: int, seed: int) -> TensorDataset:
    """Four questions to each row."""
    noise, _ = _inputs(rows, seed)
    return TensorDataset(noise, (noise[:, :4] + 0.5 * noise[:, 4:8] > 0).float())


class Texts(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Dictionaries of input_ids, attention_mask and labels, as tokenizers make them; 0 fills texts up."""

    def __init__(self, rows: int, seed: int, ignore_padding: bool = True) -> None:
        draw = torch.Generator().manual_seed(seed)
        follows = (torch.arange(1, VOCABULARY) * 7) % (VOCABULARY - 1) + 1
        words = torch.randint(1, VOCABULARY, (rows, 1), generator=draw)
        for _ in range(LENGTH):
            chance = torch.randint(1, VOCABULARY, (rows, 1), generator=draw)
            regular = torch.rand(rows, 1, generator=draw) < 0.8
            words = torch.cat([words, torch.where(regular, follows[words[:, -1:] - 1], chance)], 1)
        filled = torch.arange(LENGTH)[None] >= torch.randint(5, LENGTH + 1, (rows, 1), generator=draw)
        self.inputs = words[:, :-1].masked_fill(filled, 0)
        self.labels = words[:, 1:].masked_fill(filled, -100 if ignore_padding else 0)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        inputs = self.inputs[row]
        return {"input_ids": inputs, "attention_mask": (inputs != 0).long(), "labels": self.labels[row]}


def perceptron(width: int) -> nn.Sequential:
    """With everything in it that a mode can disturb."""
    return nn.Sequential(
        nn.Linear(WIDTH, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, CLASSES)
    )


def _trained(model: nn.Module, data: Any, loss: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(12):
        for batch in DataLoader(data, 64):
            inputs, labels = (batch["input_ids"], batch["labels"]) if isinstance(batch, dict) else batch
            optimizer.zero_grad()
            loss(model(inputs), labels).backward()
            optimizer.step()
    model.zero_grad()
    return model.eval()


def _of_positions(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def _yes_no(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, labels.float())


@cache
def _made(task: str) -> dict[str, Any]:
    torch.manual_seed(0)
    if task == "multiclass":
        data: Any = classed
        teacher, student, hard, soft = perceptron(48), perceptron(8), F.cross_entropy, kd_loss
    elif task == "tokens":
        data, teacher, student, hard, soft = Texts, Reader(32), Reader(6), _of_positions, token_loss  # type: ignore[assignment]
    else:
        data = many_answers if task == "multilabel" else yes_or_no
        scores = 4 if task == "multilabel" else None
        teacher, student, hard, soft = OneScore(48, scores), OneScore(4, scores), _yes_no, yes_no_loss  # type: ignore[assignment]
    _trained(teacher, data(1200, 1), hard)
    classes = {"multiclass": CLASSES, "tokens": VOCABULARY, "multilabel": 4}.get(task)
    return {
        "task": task,
        "num_classes": classes,
        "teacher": teacher,
        "student": student,
        "train_data": data(400, 2),
        "val_data": data(300, 3),
        "loss_fn": soft,
        "temperature": TEMPERATURE,
        "alpha": ALPHA,
    }


def sound(task: str = "multiclass", **changes: Any) -> dict[str, Any]:
    """Arguments of ``kddoctor.preflight`` for a set-up that is as it should be, but for what is changed."""
    made = {**_made(task)}
    made |= {"teacher": deepcopy(made["teacher"]), "student": deepcopy(made["student"]), **changes}
    if "optimizer" not in made:
        made["optimizer"] = torch.optim.SGD(made["student"].parameters(), 0.1)
    return made
