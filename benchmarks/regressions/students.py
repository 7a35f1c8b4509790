"""Distilling many students at once, one for each seed: their weights are stacked, so that a step serves them all."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div, log_softmax

from benchmarks.regressions.tasks import Rows, Task

TEACHER_HIDDEN, TEACHER_EPOCHS, TEACHER_RATE = 256, 8, 2e-3
RATE, BATCH, TEMPERATURE, ALPHA = 5e-3, 64, 3.0, 0.9


@dataclass(frozen=True)
class Recipe:
    """rows: share of the student's rows that it gets. misaligned: share of them with the teacher's answer to another
    row. epochs: share of the task's.
    """

    rows: float = 1.0
    misaligned: float = 0.0
    epochs: float = 1.0


class Stack(torch.nn.Module):
    """Networks with one hidden layer, [S] of them, initialised as torch.nn.Linear is, each from its own seed."""

    def __init__(self, seeds: list[int], inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        shapes = {"w1": (inputs, hidden), "b1": (1, hidden), "w2": (hidden, outputs), "b2": (1, outputs)}
        fan_in = {"w1": inputs, "b1": inputs, "w2": hidden, "b2": hidden}
        for name, shape in shapes.items():
            bound = 1 / math.sqrt(fan_in[name])
            drawn = [torch.rand(shape, generator=_seeded(seed, name)) * 2 * bound - bound for seed in seeds]
            self.register_parameter(name, torch.nn.Parameter(torch.stack(drawn)))

    def forward(self, inputs: Tensor) -> Tensor:
        """[S, B, d] (or [B, d] for all) to [S, B, C]."""
        hidden = torch.relu(inputs @ self.w1 + self.b1)
        return hidden @ self.w2 + self.b2


def teacher_of(task: Task) -> Stack:
    """One wide network on the labels."""
    model = Stack([0], task.teacher.inputs.shape[1], TEACHER_HIDDEN, task.outputs)
    labels = task.teacher.labels

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        return _label_loss(logits, labels[rows])

    _train(model, task.teacher, loss, [0], TEACHER_EPOCHS, TEACHER_RATE)
    return model


def distil(task: Task, teacher: Stack, recipe: Recipe, seeds: list[int]) -> Tensor:
    """[S, N, C] logits on the held-out rows of a student for each seed: of weights, and of the order of rows."""
    data = task.student[: round(recipe.rows * len(task.student.labels))]
    soft = _logits(teacher, data.inputs)[0]
    moved = torch.randperm(len(soft), generator=_seeded(0, "misaligned"))[: round(recipe.misaligned * len(soft))]
    soft[moved] = soft[moved.roll(1)]
    model = Stack(seeds, data.inputs.shape[1], task.hidden, task.outputs)

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        taught = _soft_loss(logits, soft[rows])
        return ALPHA * taught + (1 - ALPHA) * _label_loss(logits, data.labels[rows])

    _train(model, data, loss, seeds, max(1, round(recipe.epochs * task.epochs)), RATE)
    return _logits(model, task.held_out.inputs)


def _train(model: Stack, data: Rows, loss: object, seeds: list[int], epochs: int, rate: float) -> None:
    optimizer = torch.optim.Adam(model.parameters(), rate)
    steps = epochs * math.ceil(len(data.labels) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    orders = [_seeded(seed, "order") for seed in seeds]
    for _ in range(epochs):
        order = torch.stack([torch.randperm(len(data.labels), generator=generator) for generator in orders])
        for rows in order.split(BATCH, dim=1):
            optimizer.zero_grad()
            # The sum over students: what one learns does not depend on the others.
            loss(model(data.inputs[rows]), rows).sum().backward()
            optimizer.step()
            schedule.step()


def _label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """[S] mean over the batch."""
    if logits.shape[-1] == 1:
        return binary_cross_entropy_with_logits(logits[..., 0], labels.float(), reduction="none").mean(-1)
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").unflatten(0, labels.shape).mean(-1)


def _soft_loss(logits: Tensor, taught: Tensor) -> Tensor:
    """[S] divergence at the temperature, times its square, mean over the batch."""
    if logits.shape[-1] == 1:
        logits, taught = (torch.cat([torch.zeros_like(z), z], dim=-1) for z in (logits, taught))
    ours, theirs = log_softmax(logits / TEMPERATURE, -1), log_softmax(taught / TEMPERATURE, -1)
    return kl_div(ours, theirs, log_target=True, reduction="none").sum(-1).mean(-1) * TEMPERATURE**2


@torch.no_grad()
def _logits(model: Stack, inputs: Tensor) -> Tensor:
    return model(inputs)


def _seeded(seed: int, purpose: str) -> torch.Generator:
    """A generator for one purpose of one seed."""
    return torch.Generator().manual_seed(seed * 1000 + sum(map(ord, purpose)))
