"""A small run of every kind of task, and what a report is made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.engine.measuring import measure
from kddoctor.report.views import (
    Missing,
    View,
    before_after,
    capacity_or_training,
    cartography,
    causes,
    checks,
    confusion_difference,
    entropy_curve,
    gap_map,
    gap_waterfall,
    layer_similarity,
    loss_balance,
    read_examples,
    reliability,
    similarity_over_time,
    soft_targets_of,
    tradeoff,
    training_curves,
    worst_examples,
)
from kddoctor.run import Run, load, write_run
from tests.builders import World, forgetting, level_curve, recorded_run, shifted, untrained
from tests.snapshots import with_snapshots

ROWS = 240
BOTH_MODELS = {"parameters": {"teacher": 5000, "student": 400}, "latency_ms": {"teacher": 3.0, "student": 0.5}}


@dataclass(frozen=True)
class Subject:
    """A run with all that was found out about it."""

    run: Run
    measured: Mapping[type, object]
    diagnosis: Diagnosis


def subject(path: Path) -> Subject:
    """Measured and judged."""
    run = load(path)
    measured = measure(run)
    return Subject(run, measured, diagnose(run, measured=measured))


def all_views(of: Subject) -> list[View | Missing]:
    """Every view of a run."""
    examples = read_examples(of.run)
    per_row: list[View | Missing] = [examples] if isinstance(examples, Missing) else []
    if not isinstance(examples, Missing):
        per_row = [view(examples) for view in (reliability, gap_map, worst_examples, confusion_difference)]
    return [
        causes(of.diagnosis),
        checks(of.diagnosis),
        gap_waterfall(of.diagnosis),
        entropy_curve(of.run, of.measured),
        loss_balance(of.run, of.measured),
        layer_similarity(of.run, of.measured),
        similarity_over_time(of.run),
        cartography(of.run),
        training_curves(of.run),
        capacity_or_training(of.measured),
        soft_targets_of(of.run, 3, (1.0, 4.0)),
        *per_row,
        tradeoff(of.run, of.diagnosis),
        before_after(examples, examples),
    ]


def multiclass(path: Path) -> Path:
    """A student that forgot a third of the rows, with layers and everything that can be recorded."""
    made = recorded_run(path, student=forgetting(0.3), baseline=forgetting(0.1), observations=BOTH_MODELS)
    with_layers(made)
    return made


def with_layers(path: Path) -> None:
    """Adds four teacher and three student layers of the first held-out rows, and four snapshots of the student."""
    from safetensors.numpy import load_file, save_file

    rng = np.random.default_rng(0)
    depths = [rng.normal(size=(64, 12))]
    for _ in range(11):
        depths.append(np.tanh(depths[-1] @ rng.normal(size=(12, 12))))
    layers = {f"teacher/block{1 + 3 * i}": depths[3 * i] for i in range(4)}
    layers |= {f"student/block{1 + 5 * i}": depths[5 * i] + 0.1 * rng.normal(size=(64, 12)) for i in range(3)}
    (path / "features").mkdir()
    save_file({name: values.astype(np.float32) for name, values in layers.items()}, path / "features/val.safetensors")
    students = {name.removeprefix("student/"): rows for name, rows in layers.items() if name.startswith("student/")}
    logits = load_file(path / "predictions" / "val.safetensors")["student_logits"]
    with_snapshots(path, students, logits)


def many_classes(path: Path) -> Path:
    """More classes than a matrix can show."""
    return recorded_run(path, world=World(classes=40), rows=800, student=forgetting(0.4))


def thin(path: Path) -> Path:
    """Predictions of one split and nothing else."""
    return recorded_run(path, steps=0, metrics=[])


def one_logit(path: Path, task: str, width: int | None = None) -> Path:
    """A task of yes and no: binary, ranking or multilabel of ``width`` labels."""
    rng = np.random.default_rng(0)
    shape = (ROWS,) if width is None else (ROWS, width)
    parts = {}
    for split in ("train", "val"):
        teacher = rng.normal(scale=2.0, size=shape)
        labels = (rng.random(shape) < 1 / (1 + np.exp(-teacher))).astype(np.int64)
        parts[split] = {
            "labels": labels,
            "teacher_logits": teacher.astype(np.float32),
            "student_logits": (0.6 * teacher + rng.normal(scale=0.8, size=shape)).astype(np.float32),
        }
    manifest: dict[str, Any] = {"task": task, "distillation": {"loss": "kl", "temperature": 2.0, "alpha": 0.5}}
    if width is not None:
        manifest["num_classes"] = width
    return write_run(path, manifest, predictions=parts, metrics=level_curve(0.7), observations=BOTH_MODELS)


def tokens(path: Path) -> Path:
    """Sequences of eight tokens, some of which no loss counts."""
    rng = np.random.default_rng(0)
    world = World(classes=12)
    parts = {}
    for draw, split in enumerate(("train", "val")):
        flat = world.labels(40 * 8, draw)
        teacher = world.teacher(flat, draw)
        labels = np.where(rng.random(flat.shape) < 0.2, -100, flat)
        parts[split] = {
            "labels": labels.reshape(40, 8),
            "teacher_logits": teacher.reshape(40, 8, 12),
            "student_logits": world.student(teacher, draw).reshape(40, 8, 12),
        }
    manifest = {"task": "tokens", "num_classes": 12, "distillation": {"loss": "kl", "temperature": 2.0, "alpha": 0.5}}
    return write_run(path, manifest, predictions=parts)


def top_k(path: Path) -> Path:
    """A vocabulary that was not stored whole."""
    rng = np.random.default_rng(0)
    part: dict[str, Any] = {"labels": rng.integers(0, 50, (20, 6))}
    for model in ("teacher", "student"):
        part[f"{model}_topk_values"] = rng.normal(size=(20, 6, 4)).astype(np.float32)
        part[f"{model}_topk_indices"] = rng.integers(0, 50, (20, 6, 4))
    manifest = {"task": "tokens", "num_classes": 50, "distillation": {"loss": "kl", "temperature": 2.0, "alpha": 0.5}}
    return write_run(path, manifest, predictions={"val": part})


KINDS: Mapping[str, Callable[[Path], Path]] = {
    "multiclass": multiclass,
    "many classes": many_classes,
    "thin": thin,
    "binary": lambda path: one_logit(path, "binary"),
    "ranking": lambda path: one_logit(path, "ranking"),
    "multilabel": lambda path: one_logit(path, "multilabel", 5),
    "tokens": tokens,
    "top-k tokens": top_k,
}


def misaligned(path: Path) -> Path:
    """A student taught with the teacher's answers to other rows: sick, with a cause that can be treated."""
    return recorded_run(
        path, in_loop=shifted(1), student=untrained, baseline=forgetting(0.05), observations=BOTH_MODELS
    )


def treated(path: Path) -> Path:
    """The same rows after a treatment, with its result."""
    made = recorded_run(path, observations=BOTH_MODELS)
    result = {
        "code": "KD106",
        "name": "teacher-rows-misaligned",
        "summary": "run the teacher on the batch itself",
        "changes": {"treatment.pairing": "online"},
        "metric": "accuracy",
        "before": 0.1,
        "after": 0.9,
        "teacher": 0.94,
        "labels_only": 0.85,
        "standard_error": 0.012,
        "share_closed": 0.95,
        "helped": True,
        "epochs": 18,
        "seed": 0,
        "verdict_after": "healthy",
        "causes_after": [],
    }
    (made / "treatment.json").write_text(json.dumps(result), encoding="utf-8")
    return made


#: What a record may call its classes, layers and metrics.
NASTY = (
    "<script>window.hit=1</script>",
    '"><img src=x onerror=window.hit=1>',
    "</script><b>",
    "a" * 300,
    "\x1b[31mred",
    "",
)


def hostile(path: Path) -> Path:
    """A sick run whose names try to be markup, in a directory whose name does too."""
    made = misaligned(path / "<b onload=window.hit=1>")
    names = [NASTY[i % len(NASTY)] for i in range(10)]
    manifest = made / "kd_run.yaml"
    data = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    data["class_names"] = names
    manifest.write_text(yaml.safe_dump(data), encoding="utf-8")
    with (made / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"step": 1, NASTY[0]: 1.0, NASTY[3]: 2.0}) + "\n")
    return made
