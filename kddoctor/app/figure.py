"""A view on a page: its question, its answer, the picture, the numbers, and what limits them."""

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import streamlit as st

from kddoctor.app.charts import CHARTS
from kddoctor.app.words import plain
from kddoctor.report.views import Missing, View


def figure(
    view: View | Missing,
    *,
    key: str | None = None,
    on_select: Callable[[], None] | None = None,
    heading: bool = True,
    draw: Callable[[View], alt.Chart] | None = None,
) -> bool:
    """Show a view, or what to record to get it. Returns whether there was anything to show.

    key, on_select: of a chart whose marks can be clicked. draw: how, where it is not the view's usual chart.
    """
    if heading:
        st.header(plain(view.question))
    if isinstance(view, Missing):
        nothing(view)
        return False
    st.markdown(plain(view.answer))
    options: dict[str, Any] = {} if on_select is None else {"on_select": on_select}
    st.altair_chart((draw or CHARTS[view.name])(view), key=key, alt=view.alt, **options)
    numbers(view)
    return True


def nothing(view: Missing) -> None:
    """What the record lacks, as a line that can be followed."""
    st.info(f"Nothing was recorded for this. {plain(view.needs[:1].upper() + view.needs[1:])}.", icon=":material/info:")


def numbers(view: View, columns: Sequence[str] | None = None) -> None:
    """The numbers behind a picture, and notes on them."""
    with st.expander("Numbers and notes", icon=":material/table:"):
        for note in view.notes:
            st.caption(plain(note))
        frame = view.frame if columns is None else view.frame[list(columns)]
        st.dataframe(frame, hide_index=True, alt=f"Numbers of the picture: {view.question}")
