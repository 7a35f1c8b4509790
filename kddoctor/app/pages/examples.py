"""Which examples does it get wrong, and why?"""

from dataclasses import replace

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from kddoctor.app.attributions import attributions
from kddoctor.app.charts.cartography import cartography
from kddoctor.app.current import Opened, current
from kddoctor.app.example import example_number, go_to, neighbours
from kddoctor.app.figure import figure, nothing, numbers
from kddoctor.app.pinned import example_columns, pin_button, pinned_beside
from kddoctor.app.words import plain
from kddoctor.report.views import Missing, View
from kddoctor.report.views.cartography import mapped
from kddoctor.report.views.gap_map import REGIONS, region_of


def picked_point() -> None:
    """A point of the map sets the example."""
    found = st.session_state["gap"]["selection"].get("example") or []
    if found and found[0].get("row", -1) >= 0:
        go_to(found[0]["row"])


def picked_on_map() -> None:
    """A point of the cartography sets the example."""
    found = st.session_state["cartography"]["selection"].get("example") or []
    if found:
        go_to(found[0]["row"])


def picked_row() -> None:
    """A row of the table sets the example."""
    rows = st.session_state["worst"]["selection"]["rows"]
    if rows:
        go_to(listed["row"].iloc[rows[0]])


def filtered(view: View) -> pd.DataFrame:
    """The worst rows that the widgets let through. Every choice is in the address."""
    frame = view.frame
    kinds = {
        "teacher right, student wrong": (True, False),
        "both wrong": (False, False),
        "both right": (True, True),
        "student right, teacher wrong": (False, True),
    }
    regions = regions_of(frame)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = _choice("Label", sorted(set(frame["label"])), "label")
        who = _choice("Who is right", list(kinds), "who")
        region = None if regions is None else _choice("Region of the map", list(REGIONS.values()), "region")
        text = st.text_input("Search", key="find", bind="query-params", placeholder="id or class", width=200)
    if label is not None:
        frame = frame[frame["label"] == label]
    if who is not None:
        teacher, student = kinds[who]
        frame = frame[(frame["teacher_right"] == teacher) & (frame["student_right"] == student)]
    if region is not None and regions is not None:
        frame = frame[regions.loc[frame.index] == region]
    if text:
        words = frame[["id", "label", "teacher", "student"]].astype(str).agg(" ".join, axis=1)
        frame = frame[words.str.contains(text, case=False, regex=False)]
    return frame


def _choice(title: str, options: list[str], key: str) -> str | None:
    return st.selectbox(title, options, index=None, placeholder="any", key=key, bind="query-params", width=240)


def regions_of(frame: pd.DataFrame) -> "pd.Series[str] | None":
    """The region of the gap map that each listed row lies in; None where there is no map."""
    gap_map = here.view("gap_map")
    if isinstance(gap_map, Missing):
        return None
    named = region_of(frame["teacher_confidence"], frame["student_loss"], gap_map.marks["sure"], gap_map.marks["lost"])
    return pd.Series(named, index=frame.index)


def over_time(view: View | Missing) -> None:
    """The cartography, up to a snapshot."""
    st.header(plain(view.question))
    if isinstance(view, Missing):
        nothing(view)
        return
    st.markdown(plain(view.answer))
    steps = sorted(set(view.frame["step"]))
    until = st.select_slider("Snapshots up to step", steps[1:], steps[-1], key="until", bind="query-params")
    table = mapped(view.frame, view.marks["sure"], until)
    st.altair_chart(cartography(table, view.marks["sure"]), key="cartography", on_select=picked_on_map, alt=view.alt)
    numbers(replace(view, frame=table))


def worst_table(view: View) -> None:
    """The worst rows, filtered, with a small picture of each where the inputs are images."""
    small = here.view("thumbnails")
    pictures = {} if isinstance(small, Missing) else dict(zip(small.frame["row"], small.frame["image"], strict=True))
    st.dataframe(
        listed.assign(input=listed["row"].map(pictures)) if pictures else listed,
        hide_index=True,
        key="worst",
        on_select=picked_row,
        selection_mode="single-row",
        height=320,
        alt=view.alt,
        column_order=(
            *(
                "row",
                *(("input",) if pictures else ()),
                "id",
                "label",
                "teacher",
                "student",
                "teacher_confidence",
                "student_confidence",
                "student_loss",
                "kl",
            ),
        ),
        column_config={
            "input": st.column_config.ImageColumn("input", width="small"),
            "teacher": "teacher answers",
            "student": "student answers",
            "teacher_confidence": _share("teacher's confidence"),
            "student_confidence": _share("student's confidence"),
            "student_loss": st.column_config.NumberColumn("student's loss", format="%.2f"),
            "kl": st.column_config.NumberColumn("KL, nats", format="%.2f"),
        },
    )


def _share(title: str) -> ColumnConfig:
    return st.column_config.ProgressColumn(title, min_value=0, max_value=1, format="percent")


def one_example(opened: Opened) -> None:
    """The input, both models' answers, and what they look at."""
    order = [int(row) for row in listed["row"]]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = example_number(opened)
        before, after = neighbours(row, order)
        st.button(
            "Previous",
            on_click=go_to,
            args=(before,),
            disabled=before is None,
            shortcut="K",
            icon=":material/arrow_back:",
        )
        st.button(
            "Next", on_click=go_to, args=(after,), disabled=after is None, shortcut="J", icon=":material/arrow_forward:"
        )
        pin_button(row)
    if not example_columns(opened, row):
        return
    pinned_beside(opened, row)
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
listed = filtered(worst)
st.caption(f"{len(listed)} of {len(worst.frame)} listed")
worst_table(worst)
st.header("One example")
one_example(here)
over_time(here.view("cartography"))
figure(here.view("confusion_difference"))
