"""Where the points between student and teacher went."""

from typing import Any

import pandas as pd

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.report.views.view import Missing, View
from kddoctor.treatment.treat import Treatment

QUESTION = "Where did the points go?"


def gap_waterfall(diagnosis: Diagnosis, treatment: Treatment | None = None) -> View | Missing:
    """From the labels-only student over this student and its causes up to the teacher, in points of the metric.

    frame: step, kind, start, end, points (end − start), low, high (of estimated points). Kinds: level (a measured
    model, from 0), measured (a difference between two measured models), estimated (what a cause is believed to cost),
    unexplained (the rest up to the teacher, always there). marks: teacher, student, gap, explained, unexplained, and
    what a treatment brought, in points. Causes without an estimate are named in notes. treatment: made this run.
    """
    gap = diagnosis.gap
    if gap.teacher is None or gap.student is None:
        return Missing("gap_waterfall", QUESTION, "record teacher and student logits of one held-out split")
    teacher, student = 100 * gap.teacher, 100 * gap.student
    rows = _before(diagnosis, treatment, student)
    rows.append(_row("this student", "level", 0.0, student))
    at, silent = student, []
    for cause in diagnosis.causes:
        if cause.worth is None:
            silent.append(cause.code)
            continue
        low, high = cause.worth.points
        points = (low + high) / 2
        kind = "measured" if cause.worth.measured else "estimated"
        rows.append(_row(f"{cause.code} {cause.title}", kind, at, at + points) | {"low": low, "high": high})
        at += points
    rows.append(_row("not explained", "unexplained", at, teacher))
    rows.append(_row("teacher", "level", 0.0, teacher))
    frame = pd.DataFrame(rows, columns=["step", "kind", "start", "end", "points", "low", "high"])
    marks = {
        "teacher": teacher,
        "student": student,
        "gap": teacher - student,
        "unexplained": teacher - at,
        "explained": at - student,
    }
    if treatment is not None:
        marks["brought"] = student - 100 * treatment.before
    notes = [f"Points are hundredths of {gap.metric} on {gap.rows:,} {gap.split} rows."]
    if silent:
        notes.append(f"Not estimated: what {', '.join(silent)} costs. Only a retraining measures it (kddoctor treat).")
    if len(diagnosis.causes) - len(silent) > 1:
        notes.append("Estimates of several causes overlap; their sum is no promise.")
    return View("gap_waterfall", QUESTION, _answer(frame, marks, treatment), _alt(frame), frame, marks, tuple(notes))


def _before(diagnosis: Diagnosis, treatment: Treatment | None, student: float) -> list[dict[str, Any]]:
    """Levels that this student is compared with, each with the measured way from there to this student."""
    gap = diagnosis.gap
    rows = []
    if treatment is not None:
        before = 100 * treatment.before
        rows.append(_row("before treatment", "level", 0.0, before))
        rows += _treated(treatment, before, student)
    alone = gap.baseline if gap.baseline is not None or treatment is None else treatment.labels_only
    if alone is not None:
        rows.append(_row("labels only", "level", 0.0, 100 * alone))
        rows.append(_row("distilling", "measured", 100 * alone, student))
    return rows


def _treated(treatment: Treatment, before: float, student: float) -> list[dict[str, Any]]:
    """The way from before to this student: in one step, or by cause where leaving each out was measured."""
    if len(treatment.worth) < 2:
        return [_row(f"treating {', '.join(treatment.codes or (treatment.code,))}", "measured", before, student)]
    rows, at = [], before
    for code, (low, high) in treatment.worth.items():
        points = (low + high) / 2
        rows.append(_row(f"treating {code}", "measured", at, at + points) | {"low": low, "high": high})
        at += points
    return [*rows, _row("treatments together, beyond each alone", "measured", at, student)]


def _row(step: str, kind: str, start: float, end: float) -> dict[str, Any]:
    return {"step": step, "kind": kind, "start": start, "end": end, "points": end - start}


def _answer(frame: pd.DataFrame, marks: dict[str, float], treatment: Treatment | None) -> str:
    where = "below" if marks["gap"] >= 0 else "above"
    said = [f"The student is {abs(marks['gap']):.1f} points {where} its teacher"]
    steps = frame.set_index("step")["points"]
    if "distilling" in steps:
        said.append(f"distilling brought {steps['distilling']:+.1f} against labels alone")
    if treatment is not None:
        treated = ", ".join(treatment.codes or (treatment.code,))
        said.append(f"treating {treated} brought {marks['brought']:+.1f}")
    if marks["explained"]:
        said.append(f"causes explain an estimated {marks['explained']:.1f} of the gap")
    return "; ".join(said) + "."


def _alt(frame: pd.DataFrame) -> str:
    levels = frame[frame["kind"] == "level"]
    listed = ", ".join(f"{row['step']} {row['end']:.1f}" for _, row in levels.iterrows())
    rest = frame[frame["kind"] == "unexplained"]["points"].iloc[0]
    return f"Waterfall in points: {listed}; not explained {rest:.1f}."
