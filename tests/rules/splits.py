"""Runs whose two splits can be changed one by one, for the rules about data and deployment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kddoctor.engine import Diagnosis, diagnose
from kddoctor.run import load, write_run
from tests import builders as b

Part = dict[str, np.ndarray]


def part(rows: int, draw: int, student: b.Change = b.unchanged, labels: np.ndarray | None = None) -> Part:
    """A split of a task of ten classes: labels, logits of both models, inputs and their hashes."""
    world = b.World(noise=1.0)
    labels = world.labels(rows, draw) if labels is None else labels
    teacher = world.teacher(labels, draw)
    inputs = np.random.default_rng([7, draw]).normal(size=(rows, 12)).astype(np.float32)
    inputs[:, :10] += np.eye(10, dtype=np.float32)[labels]
    return {
        "labels": labels,
        "teacher_logits": teacher,
        "student_logits": student(world.student(teacher, draw), labels),
        "inputs": inputs,
        "fingerprint": np.random.default_rng([9, draw]).integers(1 << 60, size=rows),
    }


def diagnosed(
    path: Path,
    train: Part,
    val: Part,
    *,
    targets: Mapping[str, Any] | None = None,
    task: str = "multiclass",
    **more: Any,
) -> Diagnosis:
    """The diagnosis of a run of these splits; more: metrics and observations."""
    splits = {"train": train, "val": val}
    known = ("labels", "teacher_logits", "student_logits", "baseline_logits")
    manifest: dict[str, Any] = {
        "task": task,
        "distillation": {"loss": "kl", "temperature": 2.0, "alpha": 0.9},
        "targets": dict(targets or {}),
    }
    if task == "multiclass":
        manifest["num_classes"] = 10
    run = write_run(
        path / "run",
        manifest,
        predictions={name: {key: split[key] for key in known if key in split} for name, split in splits.items()},
        inputs={name: {"inputs": split["inputs"]} for name, split in splits.items() if "inputs" in split},
        fingerprints={name: split["fingerprint"] for name, split in splits.items() if "fingerprint" in split},
        **more,
    )
    return diagnose(load(run))
