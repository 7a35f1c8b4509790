"""Which example is looked at: one number, in the URL, that every page shares."""

from collections.abc import Sequence

import streamlit as st

from kddoctor.app.current import Opened
from kddoctor.engine.measuring import held_out_split


def rows_of(opened: Opened) -> int:
    """How many examples the held-out split has."""
    part = opened.run.predictions(held_out_split(opened.run))
    return 0 if part is None else part.n


def example_number(opened: Opened) -> int:
    """The number input for the example; what the URL says is held within the split."""
    last = max(0, rows_of(opened) - 1)
    asked = st.session_state.get("ex")
    if isinstance(asked, int) and not 0 <= asked <= last:
        st.session_state["ex"] = min(max(asked, 0), last)
    return int(
        st.number_input(
            f"Example (row 0 to {last} of {held_out_split(opened.run)})",
            0,
            last,
            step=1,
            key="ex",
            bind="query-params",
        )
    )


def go_to(row: int) -> None:
    """Look at another example."""
    st.session_state["ex"] = int(row)


def neighbours(row: int, order: Sequence[int]) -> tuple[int | None, int | None]:
    """The rows before and after this one in a list; its ends where it is not in it."""
    if not len(order):
        return None, None
    if row not in order:
        return None, order[0]
    at = list(order).index(row)
    return (order[at - 1] if at else None), (order[at + 1] if at + 1 < len(order) else None)
