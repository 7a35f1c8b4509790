"""CKA of every layer pair as a heat map; a click picks a pair."""

import altair as alt

from kddoctor.app.charts.scales import palette
from kddoctor.report.views import View

#: Cells beyond which values are not written into them.
MOST_WRITTEN = 150


def layer_similarity(view: View) -> alt.LayerChart:
    """Fixed scale 0 to 1. Dots: the path of matching layers; ring: pairs that the run declares; star: suggested."""
    frame, colours = view.frame, palette()
    teachers, students = list(dict.fromkeys(frame["teacher_layer"])), list(dict.fromkeys(frame["student_layer"]))
    base = alt.Chart(frame).encode(
        x=alt.X("student_layer:N", sort=students, title="student layer", axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("teacher_layer:N", sort=teachers[::-1], title="teacher layer"),
    )
    picked = alt.selection_point(name="cell", fields=["teacher_layer", "student_layer"], toggle=False)
    cells = base.mark_rect(stroke=colours.background).encode(
        color=alt.Color("cka:Q", title="CKA", scale=alt.Scale(scheme="cividis", domain=[0, 1], clamp=True)),
        tooltip=["teacher_layer", "student_layer", alt.Tooltip("cka:Q", format=".3f"), "on_path", "declared", "suggested"],
    )
    ink = alt.when("datum.cka > 0.5").then(alt.value("#111111")).otherwise(alt.value("#FFFFFF"))
    layers = [cells.add_params(picked)]
    layers.append(base.transform_filter("datum.on_path").mark_point(filled=True, size=40, yOffset=-14).encode(color=ink))
    layers.append(
        base.transform_filter("datum.declared").mark_point(filled=False, size=700, strokeWidth=2.5).encode(color=ink)
    )
    layers.append(
        base.transform_filter("datum.suggested").mark_text(text="★", fontSize=15, dy=16).encode(color=ink)
    )
    if len(frame) <= MOST_WRITTEN:
        layers.append(base.mark_text(fontSize=11).encode(text=alt.Text("cka:Q", format=".2f"), color=ink))
    return alt.layer(*layers).properties(height=max(260, 46 * len(teachers) + 80))
