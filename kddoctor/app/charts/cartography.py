"""Every example by how sure of it the student was, and by how much that changed."""

import altair as alt
import pandas as pd

from kddoctor.app.charts.scales import layered, palette, percent_axis, rule_at
from kddoctor.report.views.cartography import REGIONS


def cartography(table: pd.DataFrame, sure: float) -> alt.LayerChart:
    """Points by region; a click picks an example. table: of ``mapped``."""
    colours = palette()
    scale = alt.Scale(domain=list(REGIONS), range=[colours.teacher, colours.warn, colours.student])
    shapes = alt.Scale(domain=list(REGIONS), range=["circle", "diamond", "square"])
    picked = alt.selection_point(name="example", fields=["row"], toggle=False)
    points = (
        alt.Chart(table)
        .mark_point(size=40, strokeWidth=1.5)
        .encode(
            x=alt.X("variability:Q", title="variability over the snapshots", scale=alt.Scale(domain=[0, 0.5])),
            y=alt.Y("confidence:Q", axis=percent_axis("mean probability of the label"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("region:N", title=None, scale=scale, legend=alt.Legend(orient="top")),
            shape=alt.Shape("region:N", title=None, scale=shapes),
            tooltip=[
                *("row", "label", "region"),
                alt.Tooltip("confidence:Q", format=".1%"),
                alt.Tooltip("variability:Q", format=".2f"),
                alt.Tooltip("correctness:Q", format=".0%"),
            ],
        )
    )
    return layered(rule_at([sure], "y"), points.add_params(picked), height=400)
