"""Synthetic run directories in one line: two models that know a task, and the losses that torch gives for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kddoctor.run import write_run
from tests.forensics.losses import Loss, cross_entropy, kl

Floats = np.ndarray
Change = Callable[[Floats, np.ndarray], Floats]
Weights = tuple[float, float]

#: What a run declares unless it is told otherwise.
DECLARED: Mapping[str, Any] = {"loss": "kl", "temperature": 4.0, "alpha": 0.9}


@dataclass(frozen=True)
class World:
    """A task of ``classes`` classes, some of which look alike. margin: how sure its teacher is; noise: how often wrong.

    Every draw is deterministic in ``seed`` and the number of the draw.
    """

    classes: int = 10
    seed: int = 0
    margin: float = 6.0
    noise: float = 1.5

    def labels(self, rows: int, draw: int) -> np.ndarray:
        """[rows] classes, equally frequent."""
        return np.random.default_rng([self.seed, draw, 1]).permutation(np.arange(rows) % self.classes)

    def teacher(self, labels: np.ndarray, draw: int) -> Floats:
        """[rows, C] logits: the label's class, the classes that look like it, and noise."""
        alike = np.random.default_rng(self.seed).random((self.classes, self.classes))
        rng = np.random.default_rng([self.seed, draw, 2])
        noise = rng.normal(scale=self.noise, size=(len(labels), self.classes))
        return (self.margin * np.eye(self.classes)[labels] + 2 * (alike + alike.T)[labels] + noise).astype(np.float32)

    def student(self, teacher: Floats, draw: int, progress: float = 1.0) -> Floats:
        """Flattened, noisy teacher; ``progress`` from 0 (knows nothing) to 1 (trained)."""
        rng = np.random.default_rng([self.seed, draw, 3])
        return (0.8 * progress * teacher + rng.normal(scale=0.6, size=teacher.shape)).astype(np.float32)


def unchanged(logits: Floats, labels: np.ndarray) -> Floats:
    """The logits as they are."""
    return logits


def forgetting(share: float, seed: int = 5) -> Change:
    """A model that is wrong on this share of the rows."""

    def change(logits: Floats, labels: np.ndarray) -> Floats:
        rng = np.random.default_rng(seed)
        wrong = rng.random(len(labels)) < share
        other = (labels + rng.integers(1, logits.shape[1], len(labels))) % logits.shape[1]
        changed = logits.copy()
        changed[wrong] = np.roll(logits[wrong], 1, axis=1)
        changed[wrong, other[wrong]] = logits[wrong].max(axis=1) + 1
        return changed

    return change


def permuted(columns: Sequence[int]) -> Change:
    """A model whose column i is another class."""
    return lambda logits, labels: logits[:, list(columns)]


def shifted(rows: int) -> Change:
    """Outputs that belong to other rows of the batch."""
    return lambda logits, labels: np.roll(logits, rows, axis=0)


def untrained(logits: Floats, labels: np.ndarray) -> Floats:
    """A model that never saw the task: small outputs that hardly depend on the row."""
    rng = np.random.default_rng(3)
    favour = rng.normal(scale=0.4, size=logits.shape[1])
    return (favour + rng.normal(scale=0.1, size=logits.shape)).astype(np.float32)


def probabilities(logits: Floats, labels: np.ndarray) -> Floats:
    """Softmax of the logits."""
    return torch.softmax(torch.from_numpy(logits), -1).numpy()


def sharpened(times: float) -> Change:
    """Logits so large that every softmax of them is one-hot."""
    return lambda logits, labels: (times * logits).astype(np.float32)


def noisy(scale: float, seed: int = 9) -> Change:
    """Another pass through a model with dropout."""

    def change(logits: Floats, labels: np.ndarray) -> Floats:
        noise = np.random.default_rng(seed).normal(scale=scale, size=logits.shape)
        return (logits + noise).astype(np.float32)

    return change


def level_curve(accuracy: float = 0.9, epochs: int = 18, loss: float = 1.0) -> list[dict[str, Any]]:
    """Metrics of a run that has converged."""
    return _curve(epochs, lambda e: accuracy * (1 - np.exp(-e - 1)), lambda e: loss * (1 + np.exp(-e)))


def rising_curve(accuracy: float = 0.6, epochs: int = 18) -> list[dict[str, Any]]:
    """Metrics of a run that was stopped while it still improved."""
    return _curve(epochs, lambda e: accuracy * (0.2 + 0.8 * (e + 1) / epochs), lambda e: 3.0 - 2.0 * e / epochs)


def diverged_curve(epochs: int = 18) -> list[dict[str, Any]]:
    """Metrics of a run whose loss became NaN."""
    return _curve(epochs, lambda e: 0.5 if e < 6 else 0.1, lambda e: 1.0 if e < 6 else float("nan"))


def _curve(epochs: int, accuracy: Callable[[int], float], loss: Callable[[int], float]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for e in range(epochs):
        rows.append({"step": 10 * e, "epoch": e, "split": "train", "loss": float(loss(e))})
        wiggle = 0.001 * (-1) ** e
        held_out = float(accuracy(e)) + wiggle
        rows.append({"step": 10 * e, "epoch": e, "split": "val", "student_accuracy": held_out})
    return rows


def ending_at(accuracy: float, metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same rows, with the held-out ones moved so that the last of them is what the student reaches."""
    logged = [row["student_accuracy"] for row in metrics if row.get("split") == "val" and "student_accuracy" in row]
    by = accuracy - logged[-1] if logged else 0.0
    return [
        {**row, "student_accuracy": row["student_accuracy"] + by}
        if row.get("split") == "val" and "student_accuracy" in row
        else dict(row)
        for row in metrics
    ]


def recorded_run(
    path: Path,
    *,
    kd: Loss | None = None,
    mix: Weights | Callable[[float], Weights] = (0.1, 0.9),
    ce: Callable[..., torch.Tensor] = cross_entropy,
    declared: Mapping[str, Any] | None = None,
    teacher: Change = unchanged,
    in_loop: Change = unchanged,
    check: Change = unchanged,
    student: Change = unchanged,
    train_student: Change | None = None,
    evaluated: Change = unchanged,
    baseline: Change | None = None,
    train_baseline: Change | None = None,
    steps: int = 12,
    batch: int = 24,
    rows: int = 600,
    classes: int = 10,
    world: World | None = None,
    terms: bool = True,
    metrics: Sequence[Mapping[str, Any]] | None = None,
    observations: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    targets: bool = False,
    seed: int = 0,
) -> Path:
    """Write a multiclass run that is healthy but for what is changed; returns its path.

    kd: the term that the loop ran (the declared one when left out). mix: weights of (labels, teacher), or a function
    of the share of training that is over. declared: keys of ``distillation`` that differ from ``DECLARED``. teacher:
    applied to the teacher everywhere; in_loop: to what the loss saw; check: to the recorder's second pass; student,
    train_student: to the student in the predictions, and, as trained, in the steps; evaluated: to that of the
    predictions alone. baseline, train_baseline: to the twin's. steps: 0 for a run without steps. terms: record kd_loss
    and ce_loss. targets: record teacher_targets (through in_loop) too.
    """
    world = world or World(classes=classes, seed=seed)
    meant = {**DECLARED, **(declared or {})}
    term = kd or kl(meant["temperature"])
    predictions: dict[str, dict[str, Any]] = {}
    for split, draw, own, alone in (
        ("train", 1, train_student or student, train_baseline or baseline),
        ("val", 2, student, baseline),
    ):
        labels = world.labels(rows, draw)
        logits = world.teacher(labels, draw)
        trained = own(world.student(logits, draw), labels)
        part = {
            "labels": labels,
            "teacher_logits": teacher(logits, labels),
            "student_logits": evaluated(trained, labels),
        }
        if alone is not None:
            part["baseline_logits"] = alone(world.student(logits, draw + 50), labels)
        if targets:
            part["teacher_targets"] = in_loop(part["teacher_logits"], labels)
        predictions[split] = part
    reached = float((trained.argmax(1) == labels).mean())  # of the held-out rows, which came last
    recorded = _steps(world, steps, batch, teacher, in_loop, check, train_student or student) if steps else None
    if recorded is not None:
        recorded |= losses_of(recorded, term, mix, ce, terms)
    return write_run(
        path,
        {
            "task": "multiclass",
            "num_classes": world.classes,
            "distillation": {key: value for key, value in meant.items() if value is not None},
            "training": {"epochs": 18, "learning_rate": 0.05, "seed": seed, **(training or {})},
        },
        predictions=predictions,
        steps=recorded,
        metrics=ending_at(reached, level_curve() if metrics is None else metrics),
        observations={"teacher_training": False, "same_inputs": True, **(observations or {})},
    )


def _steps(
    world: World, count: int, batch: int, teacher: Change, in_loop: Change, check: Change, student: Change
) -> dict[str, np.ndarray]:
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("student_logits", "teacher_logits", "teacher_logits_check", "labels")
    }
    for k in range(count):
        labels = world.labels(batch, 100 + k)
        logits = world.teacher(labels, 100 + k)
        own = teacher(logits, labels)
        columns["labels"].append(labels)
        columns["teacher_logits"].append(in_loop(own, labels))
        columns["teacher_logits_check"].append(check(own, labels))
        learning = world.student(logits, 100 + k, 0.2 + 0.8 * k / max(1, count - 1))
        columns["student_logits"].append(student(learning, labels))
    return {name: np.stack(values) for name, values in columns.items()} | {"step": 10 * np.arange(count)}


def losses_of(
    steps: Mapping[str, np.ndarray],
    kd: Loss,
    mix: Weights | Callable[[float], Weights] = (0.1, 0.9),
    ce: Callable[..., torch.Tensor] = cross_entropy,
    terms: bool = True,
) -> dict[str, np.ndarray]:
    """What a float32 training loop would have logged for these logits: loss, and its terms where asked for."""
    table: list[tuple[float, float, float]] = []
    count = len(steps["labels"])
    for k, (s, t, y) in enumerate(_tensors(steps)):
        a, b = mix(k / max(1, count - 1)) if callable(mix) else mix
        soft, own = kd(s, t, y), ce(s, y)
        table.append((float(a * own + b * soft), float(soft), float(own)))
    total, soft_column, own_column = np.array(table).T
    return {"loss": total} | ({"kd_loss": soft_column, "ce_loss": own_column} if terms else {})


def _tensors(steps: Mapping[str, np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    for s, t, y in zip(steps["student_logits"], steps["teacher_logits"], steps["labels"], strict=True):
        yield torch.from_numpy(s), torch.from_numpy(t), torch.from_numpy(y)
