"""One record out of what was sampled in the loop and what the models said over the splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kddoctor.run.arrays import Array
from kddoctor.run.recording.disk import Parts
from kddoctor.run.recording.labelling import class_labels
from kddoctor.run.recording.live import LiveSteps
from kddoctor.run.recording.predicting import SplitRecord
from kddoctor.run.recording.steps import ROWS, Step


def assembled(live: LiveSteps, splits: dict[str, SplitRecord]) -> Parts:
    """The arrays of a record. Steps whose labels nobody gave take them from the training data, by content."""
    _label_steps(live, splits.get("train"))
    predictions = {split: dict(record.predictions) for split, record in splits.items()}
    if "train" in splits:
        _add_targets(live, splits["train"], predictions["train"])
    answered = {split for split, arrays in predictions.items() if _has_teacher(arrays)}
    return Parts(
        predictions={split: arrays for split, arrays in predictions.items() if split in answered},
        steps=live.sample.arrays(),
        features={s: record.features for s, record in splits.items() if record.features and s in answered},
        inputs={s: record.inputs for s, record in splits.items() if record.inputs and s in answered},
        fingerprints={s: r.fingerprints for s, r in splits.items() if r.fingerprints is not None},
    )


def classes_in(splits: dict[str, SplitRecord]) -> int | None:
    """The number of classes that the student's logits have."""
    logits = (record.predictions.get("student_logits") for record in splits.values())
    return next((int(found.shape[-1]) for found in logits if found is not None), None)


def _has_teacher(arrays: dict[str, Array]) -> bool:
    return "teacher_logits" in arrays or "teacher_topk_values" in arrays


def _add_targets(live: LiveSteps, train: SplitRecord, arrays: dict[str, Array]) -> None:
    labels = arrays.get("labels")
    targets = None if labels is None else live.targets.of(train.row_hashes, len(labels))
    student = arrays.get("student_logits")
    if targets is None or student is None:
        return
    if targets.ndim == student.ndim + 1 and targets.shape[-1] == 1:
        targets = targets[..., 0]
    if targets.shape == student.shape:
        arrays["teacher_targets"] = targets
        arrays.setdefault("teacher_logits", targets)  # a teacher that is there as cached logits alone


def _label_steps(live: LiveSteps, train: SplitRecord | None) -> None:
    waiting = [step for step in live.sample.each() if "labels" not in step and ROWS in step]
    if not waiting or train is None or train.labels is None:
        return
    known = dict(zip(train.row_hashes.tolist(), range(len(train.labels)), strict=False))
    for step in waiting:
        rows = [known.get(key) for key in step[ROWS].tolist()]
        if None not in rows:
            labels = torch.from_numpy(train.labels[np.array(rows)])
            step.update(_as_recorded(labels, step, live.task))


def _as_recorded(labels: Tensor, step: Step, task: str) -> dict[str, Any]:
    if task == "tokens":
        return {}  # rows of tokens have their labels from the model's own arguments
    return class_labels(labels, step["student_logits"], task)
