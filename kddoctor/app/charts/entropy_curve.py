"""Entropy by temperature, with the temperatures that leave a useful signal."""

import altair as alt
import pandas as pd

from kddoctor.app.charts.scales import palette, percent_axis
from kddoctor.report.views import View

TICKS = [0.5, 1, 2, 4, 8, 16, 32]


def _temperature(title: str | None = "temperature T") -> alt.X:
    axis = alt.Axis(values=TICKS, format="~g", title=title)
    return alt.X("temperature:Q", scale=alt.Scale(type="log", base=2, domain=[0.5, 32]), axis=axis)


def entropy_curve(view: View, chosen: float | None = None) -> alt.LayerChart:
    """Median and 10-90 % band in nats. chosen: a temperature that is looked at beside the run's own."""
    colours = palette()
    base = alt.Chart(view.frame)
    band = base.mark_area(color=colours.teacher, opacity=0.2).encode(
        x=_temperature(), y=alt.Y("entropy_low:Q", title="entropy of the targets, nats"), y2="entropy_high:Q"
    )
    line = base.mark_line(color=colours.teacher, strokeWidth=2.5).encode(
        x=_temperature(),
        y="entropy:Q",
        tooltip=[
            alt.Tooltip("temperature:Q", format=".3g"),
            alt.Tooltip("entropy:Q", title="median entropy, nats", format=".2f"),
            alt.Tooltip("share_of_largest:Q", title="of the most possible", format=".0%"),
            alt.Tooltip("outside_top:Q", title="mass outside the top class", format=".1%"),
        ],
    )
    return _with_marks(view, chosen, band + line).properties(height=300)


def mass_outside(view: View, chosen: float | None = None) -> alt.LayerChart:
    """Median mass outside the teacher's top class."""
    line = alt.Chart(view.frame).mark_line(color=palette().student, strokeWidth=2.5, strokeDash=[6, 3]).encode(
        x=_temperature(),
        y=alt.Y("outside_top:Q", axis=percent_axis("mass outside the top class"), scale=alt.Scale(domain=[0, 1])),
        tooltip=[alt.Tooltip("temperature:Q", format=".3g"), alt.Tooltip("outside_top:Q", format=".1%")],
    )
    return _with_marks(view, chosen, alt.layer(line)).properties(height=160)


def _with_marks(view: View, chosen: float | None, chart: alt.LayerChart) -> alt.LayerChart:
    colours = palette()
    layers: list[alt.Chart] = []
    if "sweet_low" in view.marks:
        sweet = pd.DataFrame({"temperature": [view.marks["sweet_low"]], "to": [view.marks["sweet_high"]]})
        layers.append(
            alt.Chart(sweet).mark_rect(color=colours.good, opacity=0.18).encode(x=_temperature(), x2="to:Q")
        )
    rules = [("this run", view.marks.get("temperature"), [1, 0]), ("chosen", chosen, [4, 3])]
    for name, at, dash in rules:
        if at is None:
            continue
        here = alt.Chart(pd.DataFrame({"temperature": [at], "name": [f"{name}: T = {at:g}"]}))
        layers.append(here.mark_rule(color=colours.foreground, strokeDash=dash).encode(x=_temperature()))
        if not (name == "chosen" and at == view.marks.get("temperature")):
            text = here.mark_text(
                color=colours.foreground, align="left", dx=5, dy=8 if name == "this run" else 24, baseline="top"
            )
            layers.append(text.encode(x=_temperature(), y=alt.value(0), text="name:N"))
    return alt.layer(*chart.layer, *layers)
