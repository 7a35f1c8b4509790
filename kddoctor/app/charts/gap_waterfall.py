"""Where the points went: levels as full bars, differences as floating ones."""

import altair as alt

from kddoctor.app.charts.scales import layered, palette, rule_at
from kddoctor.report.views import View

KINDS = ["level", "measured", "estimated", "unexplained"]
#: Opacity of what nobody has measured.
FAINT = 0.45


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
    y = alt.Y("step:N", sort=None, title=None, axis=alt.Axis(labelLimit=300, labelOverlap=False))
    base = alt.Chart(frame)
    shown = [kind for kind in KINDS if (frame["kind"] == kind).any()]
    fills = dict(zip(KINDS, (colours.teacher, colours.good, colours.student, colours.warn), strict=True))
    bars = base.mark_bar(height=20).encode(
        y=y,
        x=alt.X("left:Q", title="points of the metric", scale=alt.Scale(domain=[0, 105], nice=False)),
        x2="right:Q",
        color=alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=shown, range=[fills[kind] for kind in shown]),
            legend=alt.Legend(orient="top"),
        ),
        fillOpacity=alt.FillOpacity("kind:N", scale=alt.Scale(domain=KINDS, range=[1, 1, FAINT, FAINT]), legend=None),
        tooltip=["step", "kind", alt.Tooltip("points:Q", format="+.1f")],
    )
    unproven = base.transform_filter(alt.FieldOneOfPredicate("kind", ["estimated", "unexplained"]))
    outlines = unproven.mark_bar(
        height=20, filled=False, stroke=colours.foreground, strokeDash=[4, 3], strokeWidth=1.2
    ).encode(y=y, x="left:Q", x2="right:Q")
    text = base.mark_text(align="left", dx=6, color=colours.foreground).encode(y=y, x="right:Q", text="shown:N")
    return layered(bars, outlines, text, rule_at([view.marks["teacher"]], "x"), height=38 * len(frame) + 110)
