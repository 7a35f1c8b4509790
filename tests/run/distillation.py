"""A small distillation with everything in it that randomness and modes can disturb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from kddoctor.run.recorder import record

CLASSES, TRAIN, VAL, TEMPERATURE = 5, 52, 24, 3.0


def convnet(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(width * 36, CLASSES),
    )


@dataclass
class Distillation:
    """Models, data and optimizer, the same for the same seed."""

    seed: int = 0
    teacher: nn.Module = field(init=False)
    student: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.teacher, self.student = convnet(6).eval(), convnet(3)
        self.train, self.val = self._data(TRAIN), self._data(VAL)
        self.loader = DataLoader(self.train, batch_size=8, shuffle=True)
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.05, momentum=0.9)

    def _data(self, rows: int) -> TensorDataset:
        return TensorDataset(torch.randn(rows, 1, 6, 6), torch.randint(CLASSES, (rows,)))

    def record(self, path: Path, **changes: Any) -> Any:
        arguments = {
            "teacher": self.teacher,
            "student": self.student,
            "optimizer": self.optimizer,
            "train_data": self.loader,
            "val_data": self.val,
            "temperature": TEMPERATURE,
            "alpha": 0.7,
        }
        return record(path, **{**arguments, **changes})

    def terms(self, student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        soft = F.log_softmax(teacher / TEMPERATURE, 1)
        kd = F.kl_div(F.log_softmax(student / TEMPERATURE, 1), soft, reduction="batchmean", log_target=True)
        kd = kd * TEMPERATURE**2
        ce = F.cross_entropy(student, labels)
        return 0.7 * kd + 0.3 * ce, kd, ce

    def train_for(self, epochs: int, run: Any = None, when: str = "before backward", **hooks: Any) -> None:
        """The loop of the contract. hooks: ``break_at`` a step, ``damage`` what step() is given."""
        number = 0
        for epoch in range(epochs):
            self.student.train()
            for inputs, labels in self.loader:
                with torch.no_grad():
                    t = self.teacher(inputs)
                s = self.student(inputs)
                loss, kd, ce = self.terms(s, t, labels)
                values = {"loss": loss, "kd_loss": kd, "ce_loss": ce, "student_logits": s, "teacher_logits": t}
                values = {**values, "labels": labels, "epoch": epoch, **hooks.get("damage", {})}
                if run is not None and when == "before backward":
                    run.step(**values)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                if run is not None and when == "after optimizer":
                    run.step(**values)
                if number == hooks.get("break_at"):
                    raise hooks.get("error", RuntimeError)("the loop broke")
                number += 1


Loop = Callable[..., None]
