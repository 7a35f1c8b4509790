"""Every example by the teacher's confidence and the student's loss; a click picks one of the worst."""

import altair as alt

from kddoctor.app.charts.scales import palette, percent_axis, rule_at
from kddoctor.report.views import View


def gap_map(view: View) -> alt.LayerChart:
    """Binned counts, the worst rows as points, and borders with the count of each region."""
    colours = palette()
    bins, worst = (view.frame[view.frame["kind"] == kind] for kind in ("bin", "worst"))
    span = alt.Scale(domain=[float(bins["confidence_low"].min()), 1.0], nice=False)
    losses = alt.Scale(domain=[0, float(bins["loss_high"].max())], nice=False)
    cells = alt.Chart(bins).mark_rect().encode(
        x=alt.X("confidence_low:Q", axis=percent_axis("teacher's confidence"), scale=span),
        x2="confidence_high:Q",
        y=alt.Y("loss_low:Q", title="student's loss, nats", scale=losses),
        y2="loss_high:Q",
        color=alt.Color("count:Q", title="examples", scale=alt.Scale(type="log", scheme="cividis")),
        tooltip=["region", "count"],
    )
    picked = alt.selection_point(name="example", fields=["row"], toggle=False)
    points = alt.Chart(worst).mark_point(color=colours.student, size=45, opacity=0.9).encode(
        x=alt.X("teacher_confidence:Q", scale=span),
        y=alt.Y("student_loss:Q", scale=losses),
        tooltip=["row", "region", alt.Tooltip("teacher_confidence:Q", format=".1%"), alt.Tooltip("student_loss:Q", format=".2f")]
    )
    borders = rule_at([view.marks["sure"]], "x") + rule_at([view.marks["lost"]], "y")
    return alt.layer(cells, *borders.layer, points.add_params(picked)).properties(height=360)
