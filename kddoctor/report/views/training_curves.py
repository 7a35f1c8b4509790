"""Everything that was logged over the steps."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kddoctor.engine.reading import evenly
from kddoctor.errors import one_line
from kddoctor.probes.learning_curve import LearningCurveProbe, series
from kddoctor.report.views.training_events import events_note, training_events
from kddoctor.report.views.view import Missing, View
from kddoctor.rules.record import RECORD
from kddoctor.run.directory import Run
from kddoctor.run.metrics import Row, Scalar

QUESTION = "How did the training go?"
#: Points of one curve.
MOST_POINTS = 400
#: Not values over time, but the time itself.
CLOCKS = frozenset({"step", "epoch", "split"})
SPLITS = ("train", "val", "test")


def training_curves(run: Run) -> View | Missing:
    """All scalars of metrics.jsonl, tidy; curves of more than 400 points are thinned evenly.

    frame: key, split, step, value (NaN where it was not finite). marks: of the curve that the answer is about, last,
    best and best_step; points, broken (values that were not finite). events: as ``training_events``.
    """
    rows = _with_steps(run.metrics)
    tables, thinned = [], False
    for split in _splits(rows):
        own = [row for row in rows if row.get("split", "train") == split]
        for key in dict.fromkeys(key for row in own for key in row if key not in CLOCKS):
            steps, values = series(own, key)
            if not len(values):
                continue
            chosen = evenly(len(values), MOST_POINTS)
            thinned = thinned or len(chosen) < len(values)
            value = np.where(np.isfinite(values), values, np.nan)[chosen]
            tables.append(
                pd.DataFrame({"key": one_line(key), "split": one_line(split), "step": steps[chosen], "value": value})
            )
    if not tables:
        return Missing("training_curves", QUESTION, RECORD["LearningCurve"][1])
    frame = pd.concat(tables, ignore_index=True)
    answer, marks = _summary(frame)
    notes = [f"Curves of more than {MOST_POINTS} points are thinned evenly."] if thinned else []
    broken = int(frame["value"].isna().sum())
    marks["broken"] = float(broken)
    if broken:
        notes.append(f"{broken} of the values shown were not finite, and leave gaps.")
    events = training_events(run, rows)
    if events:
        notes.append(events_note(events))
    keys = ", ".join(dict.fromkeys(frame["key"]))
    marked = f" Marks: {len(events)}." if events else ""
    alt = f"Curves over the training steps of {keys}.{marked}"
    return View("training_curves", QUESTION, answer, alt, frame, marks, (*notes,), events)


def _with_steps(rows: Sequence[Row]) -> list[Row]:
    """Rows that know their epoch only, at the last step that was logged of it, so that all share one axis."""
    last: dict[Scalar, float] = {}
    for row in rows:
        step, epoch = row.get("step"), row.get("epoch")
        if isinstance(step, int | float) and isinstance(epoch, int | float):
            last[epoch] = max(last.get(epoch, -math.inf), step)
    return [
        {**row, "step": last[row["epoch"]]} if "step" not in row and row.get("epoch") in last else row for row in rows
    ]


def _splits(rows: Sequence[Row]) -> list[str]:
    found = dict.fromkeys(str(row.get("split", "train")) for row in rows)
    return sorted(found, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split))


def _summary(frame: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Of the held-out quality where it was logged, else of the training loss: last, best, and when."""
    held_out = frame[frame["split"] != "train"]
    candidates = [(held_out, key, True) for key in LearningCurveProbe.QUALITY_KEYS]
    candidates += [(frame[frame["split"] == "train"], key, False) for key in ("loss", "kd_loss")]
    for table, key, larger_is_better in candidates:
        curve = table[(table["key"] == key) & table["value"].notna()]
        if curve.empty:
            continue
        values = curve["value"]
        best = curve.iloc[int(values.argmax() if larger_is_better else values.argmin())]
        last = curve.iloc[-1]
        marks = {"last": float(last["value"]), "best": float(best["value"]), "best_step": float(best["step"])}
        where = f"{key.replace('_', ' ')} on {last['split']}"
        ended = f"{where[0].upper()}{where[1:]} ended at {marks['last']:.3g}"
        return f"{ended}; its best was {marks['best']:.3g} at step {marks['best_step']:g}.", marks
    return f"{len(frame)} values were logged.", {"points": float(len(frame))}
