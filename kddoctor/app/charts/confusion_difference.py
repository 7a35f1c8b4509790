"""Wrong answers of the student less those of the teacher."""

import altair as alt

from kddoctor.app.charts.scales import palette
from kddoctor.report.views import View


def confusion_difference(view: View) -> alt.LayerChart | alt.Chart:
    """A heat map of labels by answers up to 30 classes, else a dot for each of the pairs that differ most."""
    return _matrix(view) if view.marks["matrix"] else _pairs(view)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("label_name:N", title="label"),
        alt.Tooltip("answer_name:N", title="answered"),
        alt.Tooltip("student_rows:Q", title="rows of the student"),
        alt.Tooltip("teacher_rows:Q", title="rows of the teacher"),
        alt.Tooltip("label_rows:Q", title="rows of the label"),
    ]


def _matrix(view: View) -> alt.LayerChart:
    frame = view.frame.sort_values(["label", "answer"])
    names = list(dict.fromkeys(frame["label_name"]))
    answers = list(dict.fromkeys(frame.sort_values("answer")["answer_name"]))
    base = alt.Chart(frame).encode(
        x=alt.X("answer_name:N", sort=answers, title="answered instead", axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("label_name:N", sort=names, title="label"),
    )
    # Named by its ends: blue where the student does better, orange where it does worse.
    colour = alt.Color(
        "share:Q",
        title="of the label's rows",
        scale=alt.Scale(domain=[-1, 0, 1], range=["#2166AC", "#F7F7F7", "#D55E00"]),
        legend=alt.Legend(format="+.0%"),
    )
    cells = base.mark_rect().encode(color=colour, tooltip=_tooltip())
    ink = alt.when("abs(datum.share) > 0.6").then(alt.value("#FFFFFF")).otherwise(alt.value("#111111"))
    text = base.mark_text(fontSize=11).encode(text=alt.Text("difference:Q", format="+d"), color=ink)
    return (cells + text).properties(height=28 * len(names) + 110)


def _pairs(view: View) -> alt.Chart:
    frame = view.frame.assign(pair=view.frame["label_name"] + " → " + view.frame["answer_name"])
    long = frame.melt(
        ["pair", "label_name", "answer_name", "label_rows"], ["teacher_rows", "student_rows"], "model", "rows"
    )
    long["model"] = long["model"].str.removesuffix("_rows")
    long["share"] = long["rows"] / long["label_rows"]
    colours = palette()
    return (
        alt.Chart(long)
        .mark_point(filled=True, size=80)
        .encode(
            y=alt.Y("pair:N", sort=list(frame["pair"]), title=None, axis=alt.Axis(labelLimit=260)),
            x=alt.X("share:Q", axis=alt.Axis(format=".0%", title="of the label's rows")),
            color=alt.Color(
                "model:N",
                title=None,
                scale=alt.Scale(domain=["teacher", "student"], range=[colours.teacher, colours.student]),
                legend=alt.Legend(orient="top"),
            ),
            shape=alt.Shape("model:N", scale=alt.Scale(domain=["teacher", "student"], range=["circle", "square"]), legend=None),
            tooltip=["pair", "model", "rows", "label_rows"],
        )
        .properties(height=24 * len(frame) + 70)
    )
