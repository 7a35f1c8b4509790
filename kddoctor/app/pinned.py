"""An example that stays in sight while others, pages and runs are looked at."""

from collections.abc import Callable

import streamlit as st

from kddoctor.app.charts.top_classes import top_classes as bars
from kddoctor.app.current import Opened
from kddoctor.app.example import rows_of
from kddoctor.app.figure import nothing
from kddoctor.app.inputs import show_input
from kddoctor.app.navigation import link
from kddoctor.app.words import plain
from kddoctor.report.views import Missing
from kddoctor.report.views.top_classes import top_classes

PIN = "pin"


def pinned_row(opened: Opened) -> int | None:
    """The pinned row, which the address names too; None where nothing, or no row of this run, is pinned."""
    asked = st.query_params.get(PIN)
    if PIN not in st.session_state:
        st.session_state[PIN] = int(asked) if asked is not None and asked.isdecimal() else None
    row = st.session_state[PIN]
    if row is None or row >= rows_of(opened):
        return None
    if asked != str(row):  # another page was opened, whose address does not know of it yet
        st.query_params[PIN] = str(row)
    return int(row)


def pin(row: int | None) -> None:
    """Pin an example instead of the one that was pinned; None for none."""
    st.session_state[PIN] = row
    if row is None:
        st.query_params.pop(PIN, None)


def pinned_strip(opened: Opened) -> None:
    """One line on every page: which example is pinned, and what both models say about it."""
    row = pinned_row(opened)
    if row is None:
        return
    answers = top_classes(opened.run, row)
    said = answers.needs if isinstance(answers, Missing) else answers.answer
    with st.container(horizontal=True, vertical_alignment="center", key="pinned", border=True):
        st.markdown(f":material/keep: **Pinned: row {row}** {plain(said)}", width="stretch")
        link("examples", "Look at it", ":material/visibility:", ex=str(row), pin=str(row))
        st.button("Unpin", key="unpin", on_click=pin, args=(None,), icon=":material/keep_off:")


def pin_button(row: int) -> None:
    """Pins the example that is looked at."""
    st.button(
        "Pin",
        key="do-pin",
        on_click=pin,
        args=(row,),
        disabled=st.session_state.get(PIN) == row,
        icon=":material/keep:",
        help="Keep this example in sight on every page, beside the ones that are looked at next.",
    )


def pinned_beside(opened: Opened, row: int) -> None:
    """The pinned example as a whole, where another one is looked at."""
    kept = pinned_row(opened)
    if kept is None or kept == row:
        return
    st.subheader(f"Pinned: row {kept}", anchor=False)
    example_columns(opened, kept, st.caption)


def _heading(text: str) -> None:
    st.subheader(text, anchor=False)


def example_columns(opened: Opened, row: int, title: Callable[[str], object] = _heading) -> bool:
    """Input and both models' answers side by side. Returns whether there was anything to show.

    title: how each column is headed.
    """
    answers = top_classes(opened.run, row)
    if isinstance(answers, Missing):
        nothing(answers)
        return False
    st.markdown(plain(answers.answer))
    models = list(dict.fromkeys(answers.frame["model"]))
    columns = st.columns(1 + len(models))
    with columns[0]:
        title("Input")
        show_input(opened, row)
    for column, model in zip(columns[1:], models, strict=True):
        with column:
            title(model.capitalize())
            st.altair_chart(bars(answers, model), alt=f"The five most likely classes of the {model}. {answers.answer}")
    return True
