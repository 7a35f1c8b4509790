"""CKA of layer pairs over the training."""

import altair as alt

from kddoctor.app.charts.scales import layered, palette
from kddoctor.app.charts.steps_axis import steps
from kddoctor.report.views import View


def similarity_over_time(view: View, pair: tuple[str, str] | None = None) -> alt.LayerChart:
    """The matched pairs, or one pair in front of them. pair: (teacher layer, student layer)."""
    colours = palette()
    frame = view.frame.assign(pair=view.frame["teacher_layer"] + " ~ " + view.frame["student_layer"])
    y = alt.Y("cka:Q", title="CKA", scale=alt.Scale(domain=[0, 1], clamp=True))
    tooltip = [alt.Tooltip("pair:N"), alt.Tooltip("step:Q"), alt.Tooltip("cka:Q", format=".3f")]
    matched = alt.Chart(frame[frame["partner"]]).encode(x=steps(None), y=y, detail="pair:N", tooltip=tooltip)
    if pair is not None:
        one = frame[(frame["teacher_layer"] == pair[0]) & (frame["student_layer"] == pair[1])]
        dots = alt.OverlayMarkDef(color=colours.student)
        front = alt.Chart(one).mark_line(color=colours.student, point=dots, strokeWidth=2.5)
        return layered(
            matched.mark_line(color=colours.foreground, opacity=0.25, strokeDash=[4, 3]),
            front.encode(x=steps(None), y=y, tooltip=tooltip),
            height=240,
        )
    names = list(dict.fromkeys(frame.loc[frame["partner"], "pair"]))
    scale = alt.Scale(domain=names, range=[colours.series[i % len(colours.series)] for i in range(len(names))])
    lines = matched.mark_line(point=True, strokeWidth=2).encode(
        color=alt.Color("pair:N", title=None, scale=scale, legend=alt.Legend(orient="top", labelLimit=300)),
        strokeDash=alt.StrokeDash("pair:N", legend=None),
    )
    return layered(lines, height=300)
