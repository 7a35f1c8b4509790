"""Variance of two layers by direction."""

import altair as alt

from kddoctor.app.charts.scales import layered, model_colour, model_dash, percent_axis
from kddoctor.report.views import View


def layer_spectra(view: View, teacher: str, student: str) -> alt.LayerChart:
    """One layer of each model; a steep line is a layer of few directions."""
    frame = view.frame
    chosen = ((frame["model"] == "teacher") & (frame["layer"] == teacher)) | (
        (frame["model"] == "student") & (frame["layer"] == student)
    )
    base = alt.Chart(frame[chosen]).encode(
        x=alt.X("rank:Q", title="direction, the largest first", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y("share:Q", axis=percent_axis("share of the variance"), scale=alt.Scale(domainMin=0)),
        color=model_colour(),
        tooltip=["model", "layer", "rank", alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("norm:Q", format=".3g")],
    )
    return layered(base.mark_line(strokeWidth=2).encode(strokeDash=model_dash()), base.mark_point(size=30), height=220)
