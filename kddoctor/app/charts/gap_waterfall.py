"""Where the points went: levels as full bars, differences as floating ones."""

import altair as alt

from kddoctor.app.charts.scales import palette, rule_at
from kddoctor.report.views import View

KINDS = ["level", "measured", "estimated", "unexplained"]


def gap_waterfall(view: View) -> alt.LayerChart:
    """Solid bars are measured, outlined ones estimated, the faintest one is what nobody has explained."""
    colours = palette()
    frame = view.frame.assign(
        left=view.frame[["start", "end"]].min(axis=1),
        right=view.frame[["start", "end"]].max(axis=1),
        shown=[
            f"{end:.1f}" if kind == "level" else f"{points:+.1f}".replace("-", "−")
            for kind, end, points in zip(view.frame["kind"], view.frame["end"], view.frame["points"], strict=True)
        ],
    )
    y = alt.Y("step:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    base = alt.Chart(frame)
    bars = base.mark_bar(height=18, strokeWidth=1.5).encode(
        y=y,
        x=alt.X("left:Q", title="points of the metric", scale=alt.Scale(domain=[0, 105])),
        x2="right:Q",
        color=alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(
                domain=KINDS, range=[colours.teacher, colours.good, colours.student, colours.warn]
            ),
            legend=alt.Legend(orient="top"),
        ),
        stroke=alt.Stroke("kind:N", scale=alt.Scale(domain=KINDS, range=[colours.foreground] * 4), legend=None),
        strokeDash=alt.StrokeDash("kind:N", scale=alt.Scale(domain=KINDS, range=[[1, 0], [1, 0], [4, 3], [2, 3]]), legend=None),
        fillOpacity=alt.FillOpacity("kind:N", scale=alt.Scale(domain=KINDS, range=[1, 0.9, 0.5, 0.35]), legend=None),
        tooltip=["step", "kind", alt.Tooltip("points:Q", format="+.1f")],
    )
    text = base.mark_text(align="left", dx=6, color=colours.foreground).encode(y=y, x="right:Q", text="shown:N")
    layers = bars + text + rule_at([view.marks["teacher"]], "x")
    return layers.properties(height=34 * len(frame) + 60)
