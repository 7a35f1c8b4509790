"""Which classes the student mixes up more, or less, than its teacher does."""

import numpy as np
import pandas as pd

from kddoctor.report.views.examples import Examples
from kddoctor.report.views.view import Missing, View

QUESTION = "Which classes does it mix up that the teacher does not?"
#: Classes up to which every pair is shown.
MATRIX_CLASSES = 30
#: Pairs that are shown of more classes.
TOP_PAIRS = 20
#: Rows of a class below which its shares say nothing.
FEWEST = 10


def confusion_difference(examples: Examples) -> View | Missing:
    """For each label and each wrong answer: the student's rows less the teacher's, and as a share of the label's rows.

    All pairs up to 30 classes, else the 20 of the largest difference; labels of fewer than 10 rows are left out.
    frame: label, answer (class numbers), label_name, answer_name, label_rows, teacher_rows, student_rows, difference
    (rows), share (of the label's rows, −1 to 1). marks: classes, matrix (1 where all pairs are there).
    """
    pairs = _pairs(examples)
    rows = np.bincount(examples.label, minlength=examples.classes)
    pairs["label_rows"] = rows[pairs["label"]]
    pairs = pairs[pairs["label_rows"] >= FEWEST]
    if not (rows >= FEWEST).any():
        return Missing("confusion_difference", QUESTION, f"record at least {FEWEST} held-out rows of one class")
    matrix = examples.classes <= MATRIX_CLASSES
    pairs["difference"] = pairs["student_rows"] - pairs["teacher_rows"]
    pairs["share"] = pairs["difference"] / pairs["label_rows"]
    order = np.lexsort((pairs["answer"], pairs["label"], -pairs["difference"].abs(), -pairs["share"].abs()))
    frame = pairs.iloc[order].head(len(pairs) if matrix else TOP_PAIRS).reset_index(drop=True)
    for column in ("label", "answer"):
        frame[f"{column}_name"] = [examples.name_of(int(number)) for number in frame[column]]
    notes = list(examples.notes)
    left_out = int(((rows > 0) & (rows < FEWEST)).sum())
    if left_out:
        notes.append(f"{left_out} classes of fewer than {FEWEST} rows are left out.")
    if not matrix:
        notes.append(f"The {len(frame)} pairs of the largest difference, of {len(pairs)}.")
    marks = {"classes": float(examples.classes), "matrix": float(matrix)}
    return View("confusion_difference", QUESTION, _answer(frame), _alt(frame, matrix), frame, marks, tuple(notes))


def _pairs(examples: Examples) -> pd.DataFrame:
    """Rows of each (label, wrong answer) that occurs at all."""
    counted = {}
    for model, answers in (("teacher", examples.teacher), ("student", examples.student)):
        wrong = answers.predicted != examples.label
        key = examples.label[wrong] * examples.classes + answers.predicted[wrong]
        values, counts = np.unique(key, return_counts=True)
        counted[f"{model}_rows"] = pd.Series(counts, index=values)
    table = pd.DataFrame(counted).fillna(0).astype(np.int64)
    keys = table.index.to_numpy(np.int64)
    return table.assign(label=keys // examples.classes, answer=keys % examples.classes).reset_index(drop=True)


def _answer(frame: pd.DataFrame) -> str:
    more = frame[frame["difference"] > 0]
    if more.empty:
        return "There is no pair that it mixes up more often than the teacher."
    worst = more.iloc[0]
    return (
        f"Most of all {worst['label_name']} for {worst['answer_name']}: {worst['student_rows']} of "
        f"{worst['label_rows']} rows, where the teacher does so on {worst['teacher_rows']}."
    )


def _alt(frame: pd.DataFrame, matrix: bool) -> str:
    kind = "Heat map of labels by wrong answers" if matrix else "Dots for pairs of label and wrong answer"
    more, less = int((frame["difference"] > 0).sum()), int((frame["difference"] < 0).sum())
    return f"{kind}: {more} pairs that the student mixes up more often than its teacher, {less} less often."
