"""Quality against what it costs."""

import altair as alt

from kddoctor.app.charts.scales import palette, percent_axis
from kddoctor.report.views import View

TITLES = {"latency_ms": "latency, ms a batch", "parameters": "parameters", "cost": "cost"}
ROLES = ["teacher", "student", "labels only", "before treatment"]


def tradeoff(view: View, resource: str) -> alt.LayerChart:
    """One resource on a log axis; dominated models are hollow."""
    colours = palette()
    frame = view.frame[view.frame["resource"] == resource]
    base = alt.Chart(frame).encode(
        x=alt.X("amount:Q", title=TITLES[resource], scale=alt.Scale(type="log", padding=40)),
        y=alt.Y("quality:Q", axis=percent_axis("quality"), scale=alt.Scale(zero=False, padding=20)),
    )
    scale = alt.Scale(domain=ROLES, range=[colours.teacher, colours.student, colours.labels_only, colours.good])
    points = base.mark_point(size=140, strokeWidth=2).encode(
        color=alt.Color("model:N", scale=scale, legend=None),
        fill=alt.Fill("model:N", scale=scale, legend=None),
        fillOpacity=alt.FillOpacity("dominated:N", scale=alt.Scale(domain=[False, True], range=[1, 0]), legend=None),
        shape=alt.Shape("model:N", scale=alt.Scale(domain=ROLES, range=["circle", "square", "triangle-up", "diamond"]), legend=None),
        tooltip=["model", alt.Tooltip("amount:Q", format=".4g"), alt.Tooltip("quality:Q", format=".1%")],
    )
    text = base.mark_text(dy=-14, color=colours.foreground).encode(text="model:N")
    return (points + text).properties(height=280)
