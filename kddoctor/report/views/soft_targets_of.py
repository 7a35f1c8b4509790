"""The soft targets of one example: what the teacher says beside the right answer."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import class_rows
from kddoctor.probes.row_outputs import read_outputs
from kddoctor.report.views.class_names import class_namer
from kddoctor.report.views.view import Missing, View
from kddoctor.run.directory import Run

QUESTION = "What does the teacher say beside the right answer?"
#: Classes that are listed.
TOP = 15


def soft_targets_of(
    run: Run, row: int, temperatures: Sequence[float] = (1.0, 4.0), *, split: str | None = None, place: int = 0
) -> View | Missing:
    """Both models' probabilities of one example's top classes, per temperature.

    row: of the predictions file of the split (the held-out one when None), clipped to its length. place: position in a
    sequence, or label of a multilabel row. frame: temperature, class, name, teacher, student (None where not recorded),
    is_label; the teacher's top 15 classes and the label. marks: row, label, place.
    """
    split = split or held_out_split(run)
    part = run.predictions(split)
    if part is None or part.teacher_logits is None:
        needs = f"record whole teacher logits in predictions/{split}.safetensors"
        return Missing("soft_targets_of", QUESTION, needs)
    row = min(max(row, 0), part.n - 1)
    one = slice(row, row + 1)
    labels = part.labels[one]
    models = {"teacher": part.teacher_logits, "student": part.student_logits}
    rows, truth = {}, np.zeros(1, np.int64)
    for model, array in models.items():
        if array is not None:
            rows[model], truth = class_rows(run.manifest, array[one], labels)
    if not len(truth) or not all(np.isfinite(block).all() for block in rows.values()):
        return Missing("soft_targets_of", QUESTION, f"row {row} has no label, or logits that are not finite")
    at = min(max(place, 0), len(truth) - 1)
    label = min(int(truth[at]), rows["teacher"].shape[1] - 1)
    order = np.argsort(-rows["teacher"][at], kind="stable")[:TOP]
    shown = [*map(int, order), *([label] if label not in order else [])]
    name_of = class_namer(run.manifest)
    tables = []
    for temperature in temperatures:
        p = {
            model: read_outputs(block[at : at + 1], np.array([label]), temperature, model).p[0]
            for model, block in rows.items()
        }
        tables.append(
            pd.DataFrame(
                {
                    "temperature": float(temperature),
                    "class": shown,
                    "name": [name_of(number) for number in shown],
                    "teacher": p["teacher"][shown],
                    "student": p["student"][shown] if "student" in p else np.nan,
                    "is_label": [number == label for number in shown],
                }
            )
        )
    frame = pd.concat(tables, ignore_index=True)
    return View(
        "soft_targets_of",
        QUESTION,
        _answer(frame, row),
        f"Bars of the teacher's and the student's probabilities of {len(shown)} classes at each temperature.",
        frame,
        {"row": float(row), "label": float(label), "place": float(at)},
        (f"Row {row} of {part.file}.",),
    )


def _answer(frame: pd.DataFrame, row: int) -> str:
    parts = []
    for temperature, table in frame.groupby("temperature", sort=False):
        top = table.iloc[0]
        parts.append(f"{top['teacher']:.1%} on {top['name']} at T = {temperature:g}")
    right = frame.loc[frame["is_label"], "name"].iloc[0]
    return f"On example {row}, whose label is {right}, the teacher puts {', '.join(parts)}."
