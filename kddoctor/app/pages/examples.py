"""Which examples does it get wrong, and why?"""

import streamlit as st

from kddoctor.app.attributions import attributions
from kddoctor.app.charts.top_classes import top_classes as bars
from kddoctor.app.current import Opened, current
from kddoctor.app.example import example_number, go_to, neighbours
from kddoctor.app.figure import figure, nothing
from kddoctor.app.inputs import show_input
from kddoctor.app.words import plain
from kddoctor.report.views import Missing, View
from kddoctor.report.views.top_classes import top_classes


def picked_point() -> None:
    """A point of the map sets the example."""
    found = st.session_state["gap"]["selection"].get("example") or []
    if found and found[0].get("row", -1) >= 0:
        go_to(found[0]["row"])


def picked_row() -> None:
    """A row of the table sets the example."""
    rows = st.session_state["worst"]["selection"]["rows"]
    if rows:
        go_to(listed["row"].iloc[rows[0]])


def worst_table(view: View) -> None:
    """The worst rows, filtered."""
    st.dataframe(
        listed,
        hide_index=True,
        key="worst",
        on_select=picked_row,
        selection_mode="single-row",
        height=320,
        alt=view.alt,
        column_order=(
            *("row", "id", "label", "teacher", "student", "teacher_confidence", "student_confidence", "student_loss", "kl"),
        ),
        column_config={
            "teacher": "teacher answers",
            "student": "student answers",
            "teacher_confidence": _share("teacher's confidence"),
            "student_confidence": _share("student's confidence"),
            "student_loss": st.column_config.NumberColumn("student's loss", format="%.2f"),
            "kl": st.column_config.NumberColumn("KL, nats", format="%.2f"),
        },
    )


def _share(title: str) -> object:
    return st.column_config.ProgressColumn(title, min_value=0, max_value=1, format="percent")


def one_example(opened: Opened) -> None:
    """The input, both models' answers, and what they look at."""
    order = [int(row) for row in listed["row"]]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = example_number(opened)
        before, after = neighbours(row, order)
        st.button("Previous", on_click=go_to, args=(before,), disabled=before is None, shortcut="K", icon=":material/arrow_back:")
        st.button("Next", on_click=go_to, args=(after,), disabled=after is None, shortcut="J", icon=":material/arrow_forward:")
    answers = top_classes(opened.run, row)
    if isinstance(answers, Missing):
        nothing(answers)
        return
    st.markdown(plain(answers.answer))
    models = list(dict.fromkeys(answers.frame["model"]))
    columns = st.columns(1 + len(models))
    with columns[0]:
        st.subheader("Input", anchor=False)
        show_input(opened, row)
    for column, model in zip(columns[1:], models, strict=True):
        with column:
            st.subheader(model.capitalize(), anchor=False)
            st.altair_chart(bars(answers, model), alt=f"The five most likely classes of the {model}. {answers.answer}")
    attributions(opened, row)


here = current()
st.title("Which examples does it get wrong, and why?")
worst = here.view("worst_examples")
if isinstance(worst, Missing):
    nothing(worst)
    st.stop()
figure(here.view("gap_map"), key="gap", on_select=picked_point)
st.header(plain(worst.question))
st.markdown(plain(worst.answer))
with st.container(horizontal=True, vertical_alignment="bottom"):
    label = st.selectbox(
        "Label", sorted(set(worst.frame["label"])), index=None, placeholder="any", key="label", bind="query-params", width=200
    )
    kinds = ["teacher right, student wrong", "both wrong", "both right", "student right, teacher wrong"]
    who = st.selectbox("Who is right", kinds, index=None, placeholder="anybody", key="who", bind="query-params", width=280)
listed = worst.frame
if label is not None:
    listed = listed[listed["label"] == label]
if who is not None:
    teacher, student = {kinds[0]: (True, False), kinds[1]: (False, False), kinds[2]: (True, True)}.get(who, (False, True))
    listed = listed[(listed["teacher_right"] == teacher) & (listed["student_right"] == student)]
st.caption(f"{len(listed)} of {len(worst.frame)} listed")
worst_table(worst)
st.header("One example")
one_example(here)
figure(here.view("confusion_difference"))
