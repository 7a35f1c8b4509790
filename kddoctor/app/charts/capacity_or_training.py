"""Accuracy of each model on training and on held-out rows."""

import altair as alt

from kddoctor.app.charts.scales import MODELS, layered, palette, percent_axis
from kddoctor.report.views import View

SPLITS = ["train", "held out"]


def capacity_or_training(view: View) -> alt.LayerChart:
    """A row a model: hollow on training rows, filled on held-out ones, with two standard errors."""
    colours = palette()
    shown = [model for model in MODELS if (view.frame["model"] == model).any()]
    scale = alt.Scale(domain=MODELS, range=list(colours.series[:3]))
    base = alt.Chart(view.frame).encode(
        y=alt.Y("model:N", sort=shown, title=None, axis=alt.Axis(labelLimit=140)),
        yOffset=alt.YOffset("split:N", sort=SPLITS),
        color=alt.Color("model:N", scale=scale, legend=None),
    )
    axis, span = percent_axis("accuracy"), alt.Scale(zero=False, nice=True)
    legend = alt.Legend(orient="top", symbolStrokeColor=colours.foreground)
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", axis=axis, scale=span), x2="high:Q")
    points = base.mark_point(size=110, strokeWidth=2).encode(
        x=alt.X("accuracy:Q", axis=axis, scale=span),
        fill=alt.Fill("model:N", scale=scale, legend=None),
        fillOpacity=alt.FillOpacity("split:N", scale=alt.Scale(domain=SPLITS, range=[0, 1]), legend=None),
        shape=alt.Shape(
            "split:N", title=None, scale=alt.Scale(domain=SPLITS, range=["circle", "square"]), legend=legend
        ),
        tooltip=[
            *("model", "split", "rows"),
            alt.Tooltip("accuracy:Q", format=".1%"),
            alt.Tooltip("loss:Q", title="loss on the labels, nats", format=".3f"),
            alt.Tooltip("divergence:Q", title="divergence from the teacher, nats", format=".3f"),
        ],
    )
    text = base.mark_text(align="left", dx=9, color=colours.foreground).encode(
        x=alt.X("high:Q", axis=axis, scale=span),
        text=alt.Text("accuracy:Q", format=".1%"),
        color=alt.value(colours.foreground),
    )
    return layered(bars, points, text, height=70 * len(shown) + 60)
