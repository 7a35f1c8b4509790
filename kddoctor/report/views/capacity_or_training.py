"""Whether the student could not learn more, or was not taught more: all models on training and on held-out rows."""

from collections.abc import Mapping
from typing import Literal

import pandas as pd

from kddoctor.engine.diagnosis import LEARNT
from kddoctor.probes.example_gaps import ExampleGaps
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.proportions import SURE, noise_of_difference, standard_error
from kddoctor.report.views.view import Missing, View
from kddoctor.rules.record import RECORD

QUESTION = "Is it capacity or training?"
TWIN = "labels only"
Split = Literal["train", "held out"]


def capacity_or_training(measured: Mapping[type, object]) -> View | Missing:
    """Teacher, student and the same student on labels alone, on training and on held-out rows.

    frame: model, split ("train" or "held out"), accuracy, low, high (two standard errors), loss (cross-entropy with the
    labels, nats), divergence (KL from the teacher, nats; NaN for the teacher), rows. marks: the accuracies, such as
    train_student and held_out_labels_only. Without training rows there is nothing to compare. measured: from
    ``measure``.
    """
    train, held_out = measured.get(TrainGaps), measured.get(Gaps)
    if not isinstance(train, TrainGaps) or not isinstance(held_out, Gaps) or held_out.split == "train":
        return Missing("capacity_or_training", QUESTION, RECORD["TrainGaps"][1])
    rows = [*_rows("train", train.gaps), *_rows("held out", held_out.gaps)]
    frame = pd.DataFrame(rows)
    names = frame["split"].str.replace(" ", "_") + "_" + frame["model"].str.replace(" ", "_")
    marks = dict(zip(names, frame["accuracy"].astype(float), strict=True))
    notes = ["Bars: two standard errors. Accuracy is the share of right answers, whatever the metric of the task."]
    if TWIN not in set(frame["model"]):
        notes.append("With a labels-only twin (kddoctor baseline RUN_DIR) the answer would be firmer.")
    return View("capacity_or_training", QUESTION, _answer(train.gaps), _alt(frame), frame, marks, tuple(notes))


def _rows(split: Split, gaps: ExampleGaps) -> list[dict[str, object]]:
    found = {
        "teacher": (gaps.teacher_accuracy, gaps.teacher_loss, None),
        "student": (gaps.student_accuracy, gaps.student_loss, gaps.kl_teacher_student),
        TWIN: (gaps.baseline_accuracy, gaps.baseline_loss, gaps.kl_teacher_baseline),
    }
    rows: list[dict[str, object]] = []
    for model, (accuracy, loss, divergence) in found.items():
        if accuracy is None:
            continue
        half = SURE * standard_error(accuracy, gaps.n)
        rows.append(
            {
                "model": model,
                "split": split,
                "accuracy": accuracy,
                "low": max(0.0, accuracy - half),
                "high": min(1.0, accuracy + half),
                "loss": float("nan") if loss is None else loss,
                "divergence": float("nan") if divergence is None else divergence,
                "rows": gaps.n,
            }
        )
    return rows


def _answer(train: ExampleGaps) -> str:
    teacher, student, twin = train.teacher_accuracy, train.student_accuracy, train.baseline_accuracy
    said = f"On training rows the student reaches {student:.1%}, its teacher {teacher:.1%}"
    said += "" if twin is None else f", the same student on labels alone {twin:.1%}"
    noise = noise_of_difference(standard_error(student, train.n))
    if teacher - student < LEARNT:
        return f"{said}: it has learnt its training rows, so what it lacks shows on held-out rows alone."
    if twin is None:
        return f"{said}: it did not learn its training rows, be it for its size or for its training."
    if twin - student > noise:
        return f"{said}: it could fit more of the labels than it does, so that not its size alone holds it back."
    if teacher - twin < LEARNT:
        return f"{said}: a student of this size can learn these rows, so that its size is not what stops it."
    return f"{said}: neither learns the training rows, which speaks for its size, or for too short a training of both."


def _alt(frame: pd.DataFrame) -> str:
    listed = ", ".join(f"{row['model']} {row['accuracy']:.1%} ({row['split']})" for _, row in frame.iterrows())
    return f"Accuracy of each model on training and on held-out rows: {listed}."
