"""Change of each metric between two runs, with its paired interval."""

import altair as alt

from kddoctor.app.charts.scales import palette, rule_at
from kddoctor.report.views import View


def dumbbells(view: View, *, shares: bool) -> alt.LayerChart:
    """From before to after. shares: the metrics in percent, else those in nats."""
    colours = palette()
    frame = view.frame[view.frame["kind"] == "metric"]
    frame = frame[frame["name"].str.contains("nats") != shares]
    y = alt.Y("name:N", sort=list(frame["name"]), title=None, axis=alt.Axis(labelLimit=240))
    scale = alt.Scale(domain=[0, 1]) if shares else alt.Scale(domainMin=0)
    axis = alt.Axis(format=".0%" if shares else "~g", title=None if shares else "nats")
    base = alt.Chart(frame).encode(y=y)
    line = base.mark_rule(strokeWidth=3, color=colours.foreground, opacity=0.5).encode(
        x=alt.X("before:Q", scale=scale, axis=axis), x2="after:Q"
    )
    ends = [
        base.mark_point(filled=filled, size=130, strokeWidth=2.5, shape=shape, color=colour).encode(
            x=alt.X(f"{name}:Q", scale=scale, axis=axis),
            tooltip=["name", alt.Tooltip("before:Q", format=".4g"), alt.Tooltip("after:Q", format=".4g")],
        )
        for name, filled, shape, colour in (
            ("before", False, "circle", colours.student),
            ("after", True, "square", colours.teacher),
        )
    ]
    return alt.layer(line, *ends).properties(height=44 * max(1, len(frame)) + 50)


def change_interval(view: View) -> alt.LayerChart:
    """The change in points of the metrics that are shares, with the interval and zero."""
    frame = view.frame[(view.frame["kind"] == "metric") & ~view.frame["name"].str.contains("nats")]
    frame = frame.assign(**{key: 100 * frame[key] for key in ("change", "low", "high")})
    y = alt.Y("name:N", sort=list(frame["name"]), title=None)
    base = alt.Chart(frame).encode(y=y)
    bars = base.mark_rule(strokeWidth=3, color=palette().teacher).encode(x=alt.X("low:Q", title="change, points"), x2="high:Q")
    points = base.mark_point(filled=True, size=90, color=palette().teacher).encode(x="change:Q")
    return (rule_at([0.0], "x") + bars + points).properties(height=44 * max(1, len(frame)) + 50)
