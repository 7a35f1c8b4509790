"""Both models on every held-out example: what several views are drawn from, read in one pass."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import binary_like, class_rows, classes, numbered_rows
from kddoctor.probes.chunks import row_slices
from kddoctor.probes.row_outputs import RowOutputs, kl_divergence, read_outputs
from kddoctor.report.views.class_names import class_namer
from kddoctor.report.views.view import Missing
from kddoctor.run.directory import Run
from kddoctor.run.manifest import Manifest
from kddoctor.run.predictions import Predictions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Elements of logits that are looked at; longer splits are thinned by whole rows, evenly.
LOOKED_AT = 60_000_000
#: Rows times classes whose probabilities are held at a time.
BLOCK_ELEMENTS = 262_144


@dataclass(frozen=True)
class Answers:
    """One model's answers, each [n], at T = 1. confidence: largest probability. loss: cross-entropy, nats."""

    predicted: Ints
    confidence: Floats
    loss: Floats


@dataclass(frozen=True)
class Examples:
    """Teacher and student on the same n rows of one split.

    row: place in the predictions file. place: position in a sequence, or label of a multilabel row; zeros for other
    tasks. ids: what the record calls the row, its place where it has no ids. kl: KL(teacher ‖ student) at T = 1, nats.
    rows_recorded: examples of the split, of which every ``every``-th was read. name_of: class number to name.
    """

    split: str
    task: str
    classes: int
    row: Ints
    place: Ints
    ids: Ints
    label: Ints
    teacher: Answers
    student: Answers
    kl: Floats
    rows_recorded: int
    every: int
    name_of: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know about the rows."""
        notes = []
        if self.every > 1:
            notes.append(f"Every {self.every}th of {self.rows_recorded:,} examples was read.")
        if self.task == "tokens":
            notes.append("Every position of a sequence counts as a row.")
        if self.task == "multilabel":
            notes.append("Every label of an example counts as a row, answered by yes or no.")
        return tuple(notes)


def read_examples(run: Run) -> Examples | Missing:
    """Both models on the held-out split, in one pass over its logits; memory grows by about 100 bytes a row."""
    split = held_out_split(run)
    part = run.predictions(split)
    if part is None or part.teacher_logits is None or part.student_logits is None:
        needs = f"record whole teacher and student logits in predictions/{split}.safetensors"
        return Missing("examples", "Which examples does the student get wrong?", needs)
    every = max(1, -(-part.teacher_logits.size // LOOKED_AT))
    columns: dict[str, list[NDArray[Any]]] = {}
    for block in _blocks(run.manifest, part, every):
        for name, values in block.items():
            columns.setdefault(name, []).append(values)
    if not columns:
        needs = f"record labelled rows with finite logits in predictions/{split}.safetensors"
        return Missing("examples", "Which examples does the student get wrong?", needs)
    read = {name: np.concatenate(parts) for name, parts in columns.items()}
    ids = part.example_ids
    return Examples(
        split=split,
        task=run.manifest.task,
        classes=classes(run.manifest),
        row=read["row"],
        place=read["place"],
        ids=read["row"] if ids is None else ids.read()[read["row"]],
        label=read["label"],
        teacher=Answers(*(read[f"teacher_{name}"] for name in ("predicted", "confidence", "loss"))),
        student=Answers(*(read[f"student_{name}"] for name in ("predicted", "confidence", "loss"))),
        kl=read["kl"],
        rows_recorded=part.n,
        every=every,
        name_of=class_namer(run.manifest),
    )


def _blocks(manifest: Manifest, part: Predictions, every: int) -> Iterator[dict[str, NDArray[Any]]]:
    for numbers, (teacher, student, labels) in numbered_rows(part.teacher_logits, part.student_logits, part.labels):
        kept = numbers % every == 0
        if not kept.any():
            continue
        row, place = row_places(manifest, numbers[kept], labels[kept])
        t, truth = class_rows(manifest, teacher[kept], labels[kept])
        s, _ = class_rows(manifest, student[kept], labels[kept])
        # Grades of a ranking are yes from one on.
        truth = np.minimum(truth, 1) if binary_like(manifest) else truth
        for block in row_slices(len(t), t.shape[1], BLOCK_ELEMENTS):
            outputs = {
                "teacher": read_outputs(t[block], truth[block], 1.0, "teacher_logits"),
                "student": read_outputs(s[block], truth[block], 1.0, "student_logits"),
            }
            yield _columns(row[block], place[block], truth[block], outputs)


def _columns(row: Ints, place: Ints, truth: Ints, outputs: dict[str, RowOutputs]) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {"row": row, "place": place, "label": truth}
    columns["kl"] = kl_divergence(outputs["teacher"], outputs["student"])
    for model, output in outputs.items():
        columns |= {
            f"{model}_predicted": output.predicted,
            f"{model}_confidence": output.confidence,
            f"{model}_loss": output.loss,
        }
    return columns


def row_places(manifest: Manifest, numbers: Ints, labels: NDArray[Any]) -> tuple[Ints, Ints]:
    """(row in the file, place within it) of every row that ``class_rows`` gives."""
    width = labels.size // max(1, len(labels))
    row = np.repeat(numbers, width)
    place = np.tile(np.arange(width), len(numbers))
    if binary_like(manifest):
        return row, place
    keep = np.asarray(labels).reshape(-1) != -100
    return row[keep], place[keep]
