"""The targets by their entropy at one temperature."""

import altair as alt

from kddoctor.app.charts.scales import layered, palette
from kddoctor.report.views import View


def entropy_histogram(view: View, temperature: float) -> alt.LayerChart:
    """Bars at the nearest temperature that was worked out."""
    nearest = view.frame["temperature"].iloc[int((view.frame["temperature"] - temperature).abs().argmin())]
    bars = (
        alt.Chart(view.frame[view.frame["temperature"] == nearest].assign(base=0))
        .mark_bar(color=palette().teacher, stroke=palette().background, strokeWidth=0.5)
        .encode(
            x=alt.X(
                "low:Q",
                title=f"entropy at T = {nearest:g}, nats",
                scale=alt.Scale(domain=[0, view.marks["largest"]], nice=False),
            ),
            x2="high:Q",
            y=alt.Y("targets:Q", title="targets"),
            y2="base:Q",
            tooltip=[alt.Tooltip("low:Q", format=".2f"), alt.Tooltip("high:Q", format=".2f"), "targets"],
        )
    )
    return layered(bars, height=200)
