"""Stated confidence against accuracy."""

import altair as alt

from kddoctor.app.charts.scales import model_colour, model_dash, model_fill, model_shape, palette, percent_axis
from kddoctor.report.views import View


def reliability(view: View) -> alt.LayerChart:
    """Bins of equally many rows; small bins are hollow; the diagonal is a model whose confidences are right."""
    domain = alt.Scale(domain=[0, 1])
    base = alt.Chart(view.frame).encode(
        x=alt.X("confidence:Q", axis=percent_axis("mean confidence"), scale=domain),
        y=alt.Y("accuracy:Q", axis=percent_axis("accuracy"), scale=domain),
        color=model_colour(),
    )
    line = base.mark_line(strokeWidth=1.5).encode(strokeDash=model_dash())
    filled = alt.FillOpacity("small:N", scale=alt.Scale(domain=[False, True], range=[1, 0]), legend=None)
    points = base.mark_point(size=70).encode(
        shape=model_shape(),
        fill=model_fill(),
        fillOpacity=filled,
        tooltip=[
            "model",
            alt.Tooltip("confidence:Q", format=".1%"),
            alt.Tooltip("accuracy:Q", format=".1%"),
            "rows",
        ],
    )
    diagonal = alt.Chart(alt.Data(values=[{"p": 0}, {"p": 1}])).mark_line(
        color=palette().foreground, strokeDash=[4, 3], opacity=0.6
    )
    return (diagonal.encode(x="p:Q", y="p:Q") + line + points).properties(height=340)
