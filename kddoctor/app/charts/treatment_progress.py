"""The treated student's accuracy as it is trained."""

import altair as alt
import pandas as pd

from kddoctor.app.charts.scales import palette, percent_axis
from kddoctor.treatment.journal import Begun, Epoch


def treatment_progress(begun: Begun, epochs: tuple[Epoch, ...]) -> alt.LayerChart:
    """Accuracy on held-out rows by epoch, with the sick student and the teacher as lines across."""
    colours = palette()
    frame = pd.DataFrame([{"epoch": e.epoch, "accuracy": e.accuracy} for e in epochs], columns=["epoch", "accuracy"])
    y = alt.Y("accuracy:Q", axis=percent_axis("accuracy on held-out rows"), scale=alt.Scale(domain=[0, 1]))
    last = epochs[-1].epochs if epochs else 1
    x = alt.X("epoch:Q", scale=alt.Scale(domain=[0, last]), axis=alt.Axis(tickMinStep=1, format="d"))
    line = alt.Chart(frame).mark_line(color=colours.good, point=True, strokeWidth=2.5).encode(
        x=x, y=y, tooltip=["epoch", alt.Tooltip("accuracy:Q", format=".1%")]
    )
    levels = pd.DataFrame(
        [
            {"name": name, "accuracy": value}
            for name, value in (("before treatment", begun.before), ("teacher", begun.teacher))
            if value is not None
        ]
    )
    rules = alt.Chart(levels).mark_rule(strokeDash=[4, 3], color=colours.foreground).encode(y="accuracy:Q")
    text = alt.Chart(levels).mark_text(align="left", dx=4, dy=-7, color=colours.foreground)
    return (rules + text.encode(x=alt.value(0), y="accuracy:Q", text="name:N") + line).properties(height=260)
