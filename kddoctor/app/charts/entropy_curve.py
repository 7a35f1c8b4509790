"""Entropy by temperature, with the temperatures that leave a useful signal."""

import altair as alt
import pandas as pd

from kddoctor.app.charts.scales import layered, palette, percent_axis
from kddoctor.report.views import View

TICKS = [0.5, 1, 2, 4, 8, 16, 32]


def _temperature(view: View) -> alt.X:
    """All temperatures of the curve, this run's own among them, in octaves."""
    span = [float(view.frame["temperature"].min()), float(view.frame["temperature"].max())]
    axis = alt.Axis(values=TICKS, format="~g", title="temperature T")
    return alt.X("temperature:Q", scale=alt.Scale(type="log", base=2, domain=span, nice=False), axis=axis)


def entropy_curve(view: View, chosen: float | None = None) -> alt.LayerChart:
    """Median and 10-90 % band in nats. chosen: a temperature that is looked at beside the run's own."""
    colours = palette()
    base = alt.Chart(view.frame)
    band = base.mark_area(color=colours.teacher, opacity=0.2).encode(
        x=_temperature(view), y=alt.Y("entropy_low:Q", title="entropy, nats"), y2="entropy_high:Q"
    )
    line = base.mark_line(color=colours.teacher, strokeWidth=2.5).encode(
        x=_temperature(view),
        y="entropy:Q",
        tooltip=[
            alt.Tooltip("temperature:Q", format=".3g"),
            alt.Tooltip("entropy:Q", title="median entropy, nats", format=".2f"),
            alt.Tooltip("share_of_largest:Q", title="of the most possible", format=".0%"),
            alt.Tooltip("outside_top:Q", title="mass outside the top class", format=".1%"),
        ],
    )
    return layered(*_marks(view, chosen), band, line, height=330)


def mass_outside(view: View, chosen: float | None = None) -> alt.LayerChart:
    """Median mass outside the teacher's top class."""
    line = (
        alt.Chart(view.frame)
        .mark_line(color=palette().student, strokeWidth=2.5, strokeDash=[6, 3])
        .encode(
            x=_temperature(view),
            y=alt.Y("outside_top:Q", axis=percent_axis("outside the top class"), scale=alt.Scale(domain=[0, 1])),
            tooltip=[alt.Tooltip("temperature:Q", format=".3g"), alt.Tooltip("outside_top:Q", format=".1%")],
        )
    )
    return layered(*_marks(view, chosen), line, height=240)


def _marks(view: View, chosen: float | None) -> list[alt.Chart]:
    """The sweet spot, this run's temperature, and the chosen one."""
    colours = palette()
    layers: list[alt.Chart] = []
    if "sweet_low" in view.marks:
        sweet = pd.DataFrame({"temperature": [view.marks["sweet_low"]], "to": [view.marks["sweet_high"]]})
        layers.append(
            alt.Chart(sweet).mark_rect(color=colours.good, opacity=0.2).encode(x=_temperature(view), x2="to:Q")
        )
    own = view.marks.get("temperature")
    for name, at, dash, drop in (("this run", own, [1, 0], 6), ("chosen", chosen, [4, 3], 22)):
        if at is None or (name == "chosen" and at == own):
            continue
        here = alt.Chart(pd.DataFrame({"temperature": [at], "name": [f"{name}: T = {at:g}"]}))
        layers.append(here.mark_rule(color=colours.foreground, strokeDash=dash).encode(x=_temperature(view)))
        text = here.mark_text(color=colours.foreground, align="left", dx=5, dy=drop, baseline="top")
        layers.append(text.encode(x=_temperature(view), y=alt.value(0), text="name:N"))
    return layers
