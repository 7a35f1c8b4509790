"""A sick run with code of its own that trains in a second: two-dimensional blobs, a linear student."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from kddoctor.run.recorder import record

CODE = '''
"""Models and data of a run."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


def _blobs(rows, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 4
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    return TensorDataset(corners[labels] * 2 + torch.randn(rows, 2, generator=draw), labels)


def make_teacher():
    return nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 4))


def make_student():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.1), nn.Linear(3, 4))


def train_data():
    return _blobs(161, 0)  # not a multiple of the batch: one row is left over


def val_data():
    return _blobs(200, 1)
'''
REFERENCES = {
    "path": ".",
    "teacher": "blobs:make_teacher",
    "student": "blobs:make_student",
    "train_data": "blobs:train_data",
    "val_data": "blobs:val_data",
}
EPOCHS, BATCH, TEMPERATURE, ALPHA = 6, 16, 3.0, 0.8


def blobs() -> Any:
    """The code above as a namespace."""
    space: dict[str, Any] = {}
    exec(CODE, space)
    return type("blobs", (), {k: staticmethod(v) if callable(v) else v for k, v in space.items()})


def sick_run(
    path: Path,
    *,
    columns: list[int] | None = None,
    in_loop_only: bool = False,
    wrapped: bool = False,
    teacher_learns: bool = False,
    code: Mapping[str, str] | None = None,
    source: str = CODE,
    t_squared: bool = False,
    epochs: int = EPOCHS,
) -> Path:
    """Record a distillation without its T². columns: the teacher's order of classes, its own or only in the loop.

    wrapped: not by its weights, but by what was put around it. teacher_learns: it ends as no teacher at all.
    """
    made = blobs()
    teacher = trained(made)
    if wrapped:
        teacher.register_forward_hook(lambda _module, _inputs, out: out[:, columns])
    elif columns is not None and not in_loop_only:
        with torch.no_grad():
            teacher[3].weight.copy_(teacher[3].weight[columns])
            teacher[3].bias.copy_(teacher[3].bias[columns])
    teacher.eval()
    torch.manual_seed(0)
    student = made.make_student()
    optimizer = torch.optim.SGD(student.parameters(), 0.1, momentum=0.5, weight_decay=1e-4)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loader = DataLoader(made.train_data(), BATCH, shuffle=True, drop_last=True)
    factor = TEMPERATURE**2 if t_squared else 1.0
    with record(
        path,
        teacher=teacher,
        student=student,
        optimizer=optimizer,
        train_data=loader,
        val_data=made.val_data(),
        temperature=TEMPERATURE,
        alpha=ALPHA,
        training={"epochs": epochs, "seed": 0},
        code=dict(code or REFERENCES),
        code_files={"blobs.py": source},
        save_checkpoints=True,
    ) as run:
        for epoch in range(epochs):
            student.train()
            for inputs, labels in loader:
                with torch.no_grad():
                    answers = teacher(inputs)
                    if columns is not None and in_loop_only:
                        answers = answers[:, columns]
                logits = student(inputs)
                kd = kl(logits, answers) * factor
                ce = F.cross_entropy(logits, labels)
                loss = (1 - ALPHA) * ce + ALPHA * kd
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.step(
                    loss=loss,
                    kd_loss=kd,
                    ce_loss=ce,
                    student_logits=logits,
                    teacher_logits=answers,
                    labels=labels,
                    epoch=epoch,
                )
            decay.step()
        if teacher_learns:
            with torch.no_grad():
                for parameter in teacher.parameters():
                    parameter.copy_(torch.randn_like(parameter))
    return path


def kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(teacher ‖ student) at the temperature, mean over rows, without T²."""
    log_s, p = F.log_softmax(student / TEMPERATURE, -1), F.softmax(teacher / TEMPERATURE, -1)
    return F.kl_div(log_s, p, reduction="batchmean")


def trained(made: Any) -> nn.Sequential:
    """A teacher that knows the blobs."""
    torch.manual_seed(1)
    teacher = made.make_teacher()
    data: TensorDataset = made.train_data()
    inputs, labels = data.tensors
    optimizer = torch.optim.Adam(teacher.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(teacher(inputs), labels).backward()
        optimizer.step()
    return teacher
