"""The five most likely classes of one model."""

import altair as alt

from kddoctor.app.charts.scales import MODELS, palette, percent_axis
from kddoctor.report.views import View


def top_classes(view: View, model: str) -> alt.LayerChart:
    """Bars of one model's answers; the label is marked."""
    colours = palette()
    frame = view.frame[view.frame["model"] == model]
    frame = frame.assign(shown=frame["name"].where(~frame["is_label"], "▸ " + frame["name"]))
    base = alt.Chart(frame).encode(
        y=alt.Y("shown:N", sort=list(frame["shown"]), title=None, axis=alt.Axis(labelLimit=140)),
        x=alt.X("probability:Q", axis=percent_axis(None), scale=alt.Scale(domain=[0, 1])),
    )
    bars = base.mark_bar(color=colours.series[MODELS.index(model)]).encode(
        tooltip=["name", alt.Tooltip("probability:Q", format=".2%")]
    )
    text = base.mark_text(align="left", dx=4, color=colours.foreground).encode(text=alt.Text("probability:Q", format=".1%"))
    return (bars + text).properties(height=180)
