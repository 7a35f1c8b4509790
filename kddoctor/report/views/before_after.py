"""Whether a treatment worked: the same rows before and after."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kddoctor.report.views.examples import Examples
from kddoctor.report.views.view import Missing, View
from kddoctor.treatment.treat import Treatment

QUESTION = "Did the treatment work?"
Floats = NDArray[np.float64]
#: Standard errors of a two-sided 95 % interval.
SURE = 1.96


def before_after(
    after: Examples | Missing, before: Examples | Missing | None = None, treatment: Treatment | None = None
) -> View | Missing:
    """Metrics before and after on the same rows, with paired 95 % intervals, and how many answers turned.

    frame: kind ("metric" or "flip"), name, before, after, change, low, high (of the change), better ("higher" or
    "lower") of metrics; rows of flips (fixed, broken, right in both, wrong in both). With only treatment.json, its one
    metric, whose interval takes the rows as unpaired. marks: rows.
    """
    if isinstance(after, Examples) and isinstance(before, Examples) and _same_rows(before, after):
        return _paired(before, after)
    if treatment is None:
        needs = "treat the run (kddoctor treat RUN_DIR --output NEW_RUN_DIR), then diagnose NEW_RUN_DIR"
        return Missing("before_after", QUESTION, needs)
    why = (
        "The rows of the run before treatment differ from these: the interval takes them as unpaired."
        if isinstance(before, Examples)
        else "From treatment.json: the interval takes the rows as unpaired, and is wider than a paired one."
    )
    return _from_file(treatment, why)


def _same_rows(before: Examples, after: Examples) -> bool:
    return all(np.array_equal(getattr(before, name), getattr(after, name)) for name in ("row", "place", "ids", "label"))


def _paired(before: Examples, after: Examples) -> View:
    old, new = (e.student.predicted == e.label for e in (before, after))
    metrics = {
        "accuracy": (old, new, "higher"),
        "agreement with the teacher": (
            *(e.student.predicted == e.teacher.predicted for e in (before, after)),
            "higher",
        ),
        "loss on the labels, nats": (before.student.loss, after.student.loss, "lower"),
        "divergence from the teacher, nats": (before.kl, after.kl, "lower"),
    }
    rows = [_metric(name, np.asarray(a, float), np.asarray(b, float), way) for name, (a, b, way) in metrics.items()]
    flips = {
        "fixed": ~old & new,
        "broken": old & ~new,
        "right in both": old & new,
        "wrong in both": ~old & ~new,
    }
    rows += [{"kind": "flip", "name": name, "rows": int(which.sum())} for name, which in flips.items()]
    frame = pd.DataFrame(rows)
    marks = {"rows": float(len(after))}
    notes = (*after.notes, f"Paired over the same {len(after):,} rows; intervals are 95 %, ±{SURE:g} standard errors.")
    counts = frame[frame["kind"] == "flip"].set_index("name")["rows"]
    turned = f" It fixed {counts['fixed']:,.0f} rows and broke {counts['broken']:,.0f}."
    return View("before_after", QUESTION, _answer(frame) + turned, _alt(frame), frame, marks, notes)


def _metric(name: str, before: Floats, after: Floats, better: str) -> dict[str, object]:
    change = after - before
    half = SURE * float(change.std() / np.sqrt(len(change)))
    mean = float(change.mean())
    return {
        "kind": "metric",
        "name": name,
        "before": float(before.mean()),
        "after": float(after.mean()),
        "change": mean,
        "low": mean - half,
        "high": mean + half,
        "better": better,
    }


def _from_file(treatment: Treatment, why: str) -> View:
    change = treatment.after - treatment.before
    half = SURE * float(np.sqrt(2)) * treatment.standard_error
    frame = pd.DataFrame(
        [
            {
                "kind": "metric",
                "name": treatment.metric,
                "before": treatment.before,
                "after": treatment.after,
                "change": change,
                "low": change - half,
                "high": change + half,
                "better": "higher",
            }
        ]
    )
    return View("before_after", QUESTION, _answer(frame), _alt(frame), frame, {}, (why,))


def _answer(frame: pd.DataFrame) -> str:
    first = frame.iloc[0]
    name = first["name"]
    said = f"{name[0].upper()}{name[1:]} went from {first['before']:.1%} to {first['after']:.1%}"
    if first["low"] <= 0 <= first["high"]:
        return f"{said}, which is within the noise."
    points = [f"{100 * first[key]:+.1f}" for key in ("change", "low", "high")]
    return f"{said}: {points[0]} points (95 % interval {points[1]} to {points[2]})."


def _alt(frame: pd.DataFrame) -> str:
    metrics = frame[frame["kind"] == "metric"]
    listed = ", ".join(f"{row['name']} {row['before']:.3g} to {row['after']:.3g}" for _, row in metrics.iterrows())
    return f"Dumbbells from before to after: {listed}."
