"""The explain page of a code, in a dialog: the same text as ``kddoctor explain``."""

import io

import streamlit as st
from rich.console import Console

from kddoctor.report.explain import show_rule


def explain_button(code: str) -> None:
    """A button that opens the page of this code."""
    if st.button("Explain", key=f"explain-{code}", icon=":material/menu_book:"):
        _explained(code)


@st.dialog("What it means", width="large")
def _explained(code: str) -> None:
    out = io.StringIO()
    show_rule(code, Console(file=out, width=92, highlight=False, no_color=True))
    st.code(out.getvalue(), language=None, wrap_lines=True)
