"""How alike student and teacher layers became over the training."""

from math import nan

import numpy as np
import pandas as pd

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.probes.layer_similarity import exact_cka
from kddoctor.report.views.layer_similarity import by_depth, matched_path
from kddoctor.report.views.snapshot_line import NEEDS
from kddoctor.report.views.view import Missing, View
from kddoctor.run.arrays import Array, LazyArray
from kddoctor.run.directory import Run

QUESTION = "When did the layers become alike?"
#: Rows without which unbiased CKA is mostly noise.
FEWEST = 32


def similarity_over_time(run: Run) -> View | Missing:
    """Unbiased linear CKA of every layer pair at each snapshot of the student; the teacher's layers are as recorded.

    frame: step, epoch (NaN where unknown), teacher_layer, student_layer, cka, partner (of all teacher layers on the
    path of the last snapshot, this one is the most similar to the student's). marks: rows, snapshots; first_step,
    first_cka, last_step and last_cka of the pair that changed most.
    """
    split = held_out_split(run)
    taken, features = run.snapshots(split), run.features(split)
    if taken is None or not taken.student:
        return Missing("similarity_over_time", QUESTION, f"{NEEDS} of a recorder with layers=[…]")
    if features is None or not features.teacher:
        return Missing("similarity_over_time", QUESTION, "record layers of both models with layers=[…]")
    n = min(taken.n, features.n)
    if n < FEWEST:
        return Missing("similarity_over_time", QUESTION, f"record at least {FEWEST} rows of features and snapshots")
    teacher = {name: _rows(array[:n]) for name, array in _ordered(features.teacher).items()}
    teacher = {name: rows for name, rows in teacher.items() if np.isfinite(rows).all()}
    tables, left_out = [], 0
    for moment in range(len(taken)):
        student = {name: _rows(_at(array, moment)[:n]) for name, array in _ordered(taken.student).items()}
        if not teacher or not all(np.isfinite(rows).all() for rows in student.values()):
            left_out += 1
            continue
        epoch = None if taken.epoch is None else int(taken.epoch[moment])
        tables.append(_of_moment(teacher, student, int(taken.step[moment]), epoch))
    if not tables:
        return Missing("similarity_over_time", QUESTION, "record snapshots whose activations are finite")
    frame = pd.concat(tables, ignore_index=True)
    frame["partner"] = _partners(frame)
    moved = _moved_most(frame)
    marks = {"rows": float(n), "snapshots": float(len(tables))}
    for name, end in (("first", moved.iloc[0]), ("last", moved.iloc[-1])):
        marks |= {f"{name}_step": float(end["step"]), f"{name}_cka": max(0.0, float(end["cka"]))}
    notes = [f"Unbiased linear CKA on the first {n} rows; the teacher is the one recorded at the end."]
    notes += [f"{left_out} snapshots hold values that are not finite, and are left out."] if left_out else []
    return View("similarity_over_time", QUESTION, _answer(moved), _alt(frame), frame, marks, tuple(notes))


def _of_moment(teacher: dict[str, Array], student: dict[str, Array], step: int, epoch: int | None) -> pd.DataFrame:
    found = exact_cka(teacher, student)
    rows = [
        {
            "step": int(step),
            "epoch": nan if epoch is None else float(epoch),
            "teacher_layer": t,
            "student_layer": s,
            "cka": float(found.cka[i, j]),
        }
        for i, t in enumerate(found.teacher_layers)
        for j, s in enumerate(found.student_layers)
    ]
    return pd.DataFrame(rows)


def _ordered(layers: dict[str, LazyArray]) -> dict[str, LazyArray]:
    names = list(layers)
    return {names[i]: layers[names[i]] for i in by_depth(names)}


def _at(array: LazyArray, moment: int) -> Array:
    one: Array = array[moment]
    return one


def _rows(array: Array) -> Array:
    return np.asarray(array).reshape(len(array), -1).astype(np.float32)


def _partners(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Of each student layer the most similar teacher layer on the path of the last snapshot."""
    last = frame[frame["step"] == frame["step"].max()]
    table = last.drop_duplicates(["teacher_layer", "student_layer"], keep="last").pivot(
        index="teacher_layer", columns="student_layer", values="cka"
    )
    teachers, students = (list(dict.fromkeys(frame[f"{model}_layer"])) for model in ("teacher", "student"))
    cka = table.loc[teachers, students].fillna(0.0).to_numpy()
    path = matched_path(cka)
    best = {s: max((c for c in sorted(path) if c[1] == j), key=lambda c: cka[c])[0] for j, s in enumerate(students)}
    chosen = {(teachers[i], student) for student, i in best.items()}
    pairs = zip(frame["teacher_layer"], frame["student_layer"], strict=True)
    return pd.Series([pair in chosen for pair in pairs], index=frame.index)


def _moved_most(frame: pd.DataFrame) -> pd.DataFrame:
    """The curve of the matched pair whose similarity changed most from the first snapshot to the last."""
    curves = [curve for _, curve in frame[frame["partner"]].groupby("student_layer", sort=False)]
    changes = [abs(float(curve["cka"].iloc[-1]) - float(curve["cka"].iloc[0])) for curve in curves]
    return curves[int(np.argmax(changes))]


def _answer(moved: pd.DataFrame) -> str:
    first, last = moved.iloc[0], moved.iloc[-1]
    if len(moved) == 1:
        return f"One snapshot, at step {first['step']}: it takes two to see a change."
    # An unbiased estimate may lie a hair below zero, which nobody wants to read as "-0.00".
    start, end = (max(0.0, float(moment["cka"])) for moment in (first, last))
    return (
        f"From step {first['step']} to {last['step']} the student's {last['student_layer']} changed most against the "
        f"teacher's {last['teacher_layer']}: CKA {start:.2f} to {end:.2f}."
    )


def _alt(frame: pd.DataFrame) -> str:
    matched = frame[frame["partner"] & (frame["step"] == frame["step"].max())]
    ends = ", ".join(f"{r['student_layer']} with {r['teacher_layer']} {r['cka']:.2f}" for _, r in matched.iterrows())
    return f"Lines of the similarity of matched layers over {frame['step'].nunique()} snapshots, at the end: {ends}."
