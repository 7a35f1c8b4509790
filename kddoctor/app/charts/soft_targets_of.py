"""Probabilities of one example's top classes."""

import altair as alt

from kddoctor.app.charts.scales import MODELS, model_colour, palette, percent_axis
from kddoctor.report.views import View


def soft_targets_of(view: View, temperature: float) -> alt.LayerChart:
    """Teacher and student side by side at one of the view's temperatures; the label's name is marked."""
    frame = view.frame[view.frame["temperature"] == temperature]
    frame = frame.assign(shown=frame["name"].where(~frame["is_label"], "▸ " + frame["name"]))
    long = frame.melt(["shown"], MODELS[:2], "model", "probability").dropna(subset=["probability"])
    base = alt.Chart(long).encode(
        y=alt.Y("shown:N", sort=list(frame["shown"]), title=None, axis=alt.Axis(labelLimit=160)),
        yOffset=alt.YOffset("model:N", sort=MODELS[:2]),
        x=alt.X("probability:Q", axis=percent_axis(f"probability at T = {temperature:g}"), scale=alt.Scale(domain=[0, 1])),
    )
    bars = base.mark_bar().encode(color=model_colour(), tooltip=["shown", "model", alt.Tooltip("probability:Q", format=".2%")])
    text = base.mark_text(align="left", dx=3, fontSize=10, color=palette().foreground).encode(
        text=alt.Text("probability:Q", format=".1%")
    )
    return (bars + text).properties(height=26 * len(frame) + 70)
