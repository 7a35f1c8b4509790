"""What each model answers to one example: its five most likely classes."""

import numpy as np
import pandas as pd

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import class_rows
from kddoctor.probes.row_outputs import read_outputs
from kddoctor.report.views.class_names import class_namer
from kddoctor.report.views.view import Missing, View
from kddoctor.run.directory import Run

QUESTION = "What does each model answer?"
TOP = 5


def top_classes(run: Run, row: int, *, split: str | None = None, place: int = 0) -> View | Missing:
    """The five most likely classes of each recorded model at T = 1.

    row: of the predictions file of the split (the held-out one when None), clipped to its length. place: position in a
    sequence, or label of a multilabel row. frame: model (teacher, student, labels only), rank (from 1), class, name,
    probability, is_label. marks: row, place, label.
    """
    split = split or held_out_split(run)
    part = run.predictions(split)
    models = {} if part is None else {"teacher": part.teacher_logits, "student": part.student_logits}
    if part is None or any(array is None for array in models.values()):
        needs = f"record whole teacher and student logits in predictions/{split}.safetensors"
        return Missing("top_classes", QUESTION, needs)
    models["labels only"] = part.baseline_logits
    row = min(max(row, 0), part.n - 1)
    one = slice(row, row + 1)
    tables, at, label = [], 0, -1
    for model, array in models.items():
        if array is None:
            continue
        rows, truth = class_rows(run.manifest, array[one], part.labels[one])
        if not len(truth) or not np.isfinite(rows).all():
            return Missing("top_classes", QUESTION, f"row {row} has no label, or logits that are not finite")
        at = min(max(place, 0), len(truth) - 1)
        label = min(int(truth[at]), rows.shape[1] - 1)
        p = read_outputs(rows[at : at + 1], np.array([label]), 1.0, model).p[0]
        order = np.argsort(-p, kind="stable")[:TOP]
        tables.append(
            pd.DataFrame(
                {"model": model, "rank": np.arange(1, len(order) + 1), "class": order, "probability": p[order]}
            )
        )
    frame = pd.concat(tables, ignore_index=True)
    name_of = class_namer(run.manifest)
    frame["name"] = [name_of(int(number)) for number in frame["class"]]
    frame["is_label"] = frame["class"] == label
    marks = {"row": float(row), "place": float(at), "label": float(label)}
    answer = _answer(frame, name_of(label))
    return View("top_classes", QUESTION, answer, f"Bars of the most likely classes. {answer}", frame, marks)


def _answer(frame: pd.DataFrame, label: str) -> str:
    first = frame[frame["rank"] == 1]
    said = ", ".join(
        f"the {row['model']} {row['name']} ({row['probability']:.1%})"
        if row["model"] != "labels only"
        else f"the student without a teacher {row['name']} ({row['probability']:.1%})"
        for _, row in first.iterrows()
    )
    return f"The label is {label}; {said}."
