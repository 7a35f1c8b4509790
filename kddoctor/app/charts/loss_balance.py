"""The distillation term's share of the gradient, and the cosine between the terms."""

import altair as alt
import pandas as pd

from kddoctor.app.charts.scales import palette, percent_axis, rule_at
from kddoctor.report.views import View


def loss_balance(view: View, window: tuple[float, float] | None = None) -> alt.LayerChart:
    """Share over the steps, with the band between inert and dominant. window: steps that are shown."""
    colours = palette()
    band = pd.DataFrame({"low": [view.marks["inert"]], "high": [view.marks["dominant"]]})
    y = alt.Scale(domain=[0, 1])
    area = alt.Chart(band).mark_rect(color=colours.good, opacity=0.15).encode(
        y=alt.Y("low:Q", scale=y, axis=percent_axis(f"teacher's share of the {view.frame['of'].iloc[0]}")), y2="high:Q"
    )
    line = alt.Chart(view.frame).mark_line(color=colours.teacher, point=True).encode(
        x=steps(window),
        y=alt.Y("kd_share:Q", scale=y),
        tooltip=["step", alt.Tooltip("kd_share:Q", format=".1%"), alt.Tooltip("cosine:Q", format=".2f")],
    )
    return (area + line).properties(height=240)


def cosine(view: View, window: tuple[float, float] | None = None) -> alt.LayerChart:
    """Cosine between the two terms' gradients; below zero they pull against each other."""
    line = alt.Chart(view.frame).mark_line(color=palette().student, point=True).encode(
        x=steps(window), y=alt.Y("cosine:Q", title="cosine of the terms", scale=alt.Scale(domain=[-1, 1]))
    )
    return (rule_at([0.0], "y") + line).properties(height=160)


def steps(window: tuple[float, float] | None) -> alt.X:
    """The axis that all pictures of the training share."""
    scale = alt.Scale(domain=list(window), nice=False) if window else alt.Scale(nice=False)
    return alt.X("step:Q", title="training step", scale=scale)
