"""Logged scalars over the steps, those of one kind in one picture."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from kddoctor.app.charts.event_marks import event_marks
from kddoctor.app.charts.scales import layered, palette
from kddoctor.app.charts.steps_axis import steps
from kddoctor.report.views.view import Event

#: Keys that are drawn on one axis; every other key has a picture of its own.
TOGETHER = {
    "Loss terms": ("loss", "kd_loss", "ce_loss", "feature_loss"),
    "Quality": ("student_accuracy", "agreement", "student_ndcg", "student_auc"),
}

NAMES = {"lr": "learning rate", "grad_norm": "gradient norm", "kd_loss": "distillation term", "ce_loss": "label term"}
#: Values from which on single ones are not marked.
MANY = 120
HEIGHT = 260


def groups(keys: list[str]) -> dict[str, list[str]]:
    """Title of a picture to the keys that are drawn in it."""
    found = {title: [key for key in keys if key in together] for title, together in TOGETHER.items()}
    grouped = {key for group in found.values() for key in group}
    found |= {NAMES.get(key, key.replace("_", " ")): [key] for key in keys if key not in grouped}
    return {title: group for title, group in found.items() if group}


def training_curves(
    frame: pd.DataFrame, window: tuple[float, float] | None = None, events: Sequence[Event] = ()
) -> alt.LayerChart:
    """One picture of one run. frame: rows of the view with the keys of one group."""
    colours = palette()
    long = frame.assign(curve=frame["key"] + ", " + frame["split"])
    names = list(dict.fromkeys(long["curve"]))
    scale = alt.Scale(domain=names, range=[colours.series[i % len(colours.series)] for i in range(len(names))])
    legend = alt.Legend(orient="top", symbolDash=[1, 0]) if len(names) > 1 else None
    lines = _lines(long, window).encode(
        color=alt.Color("curve:N", title=None, scale=scale, legend=legend),
        strokeDash=alt.StrokeDash("curve:N", legend=None),
    )
    return layered(*event_marks(events, window), lines, height=HEIGHT)


def curve_of_both(frame: pd.DataFrame) -> alt.LayerChart:
    """One curve of two runs. frame: rows of one key and split, with the column run."""
    colours = palette()
    scale = alt.Scale(domain=["A", "B"], range=[colours.teacher, colours.student])
    lines = _lines(frame.assign(curve=frame["run"]), None).encode(
        color=alt.Color("run:N", title=None, scale=scale, legend=alt.Legend(orient="top", symbolDash=[1, 0])),
        strokeDash=alt.StrokeDash("run:N", legend=None),
    )
    return layered(lines, height=HEIGHT)


def _lines(long: pd.DataFrame, window: tuple[float, float] | None) -> alt.Chart:
    few = len(long) < MANY
    mark = alt.MarkDef("line", strokeWidth=1.6, clip=True, point=alt.OverlayMarkDef(size=14) if few else False)
    return alt.Chart(long, mark=mark).encode(
        x=steps(window),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        tooltip=["curve", "step", alt.Tooltip("value:Q", format=".4g")],
    )
