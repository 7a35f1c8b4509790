"""The distillation term's share of the gradient, and the cosine between the terms."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from kddoctor.app.charts.event_marks import event_marks
from kddoctor.app.charts.scales import layered, palette, percent_axis, rule_at
from kddoctor.app.charts.steps_axis import steps
from kddoctor.report.views import View
from kddoctor.report.views.view import Event


def loss_balance(view: View, window: tuple[float, float] | None = None, events: Sequence[Event] = ()) -> alt.LayerChart:
    """Share over the steps, with the band between inert and dominant. window: steps that are shown."""
    colours = palette()
    band = pd.DataFrame({"low": [view.marks["inert"]], "high": [view.marks["dominant"]]})
    y = alt.Scale(domain=[0, 1])
    area = (
        alt.Chart(band)
        .mark_rect(color=colours.good, opacity=0.15)
        .encode(y=alt.Y("low:Q", scale=y, axis=percent_axis("teacher's share")), y2="high:Q")
    )
    line = (
        alt.Chart(view.frame)
        .mark_line(color=colours.teacher, point=True)
        .encode(
            x=steps(window),
            y=alt.Y("kd_share:Q", scale=y),
            tooltip=["step", alt.Tooltip("kd_share:Q", format=".1%"), alt.Tooltip("cosine:Q", format=".2f")],
        )
    )
    return layered(area, *event_marks(events, window), line, height=280)


def cosine(view: View, window: tuple[float, float] | None = None) -> alt.LayerChart:
    """Cosine between the two terms' gradients; below zero they pull against each other."""
    line = (
        alt.Chart(view.frame)
        .mark_line(color=palette().student, point=True)
        .encode(x=steps(window), y=alt.Y("cosine:Q", title="cosine of the terms", scale=alt.Scale(domain=[-1, 1])))
    )
    return layered(rule_at([0.0], "y"), line, height=200)
