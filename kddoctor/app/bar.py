"""What stands above every page of one run: which run, its verdict, and files to take away."""

import streamlit as st

from kddoctor.app.current import Opened, all_runs, current

BADGES = {
    "sick": ("SICK", ":material/close:", "orange"),
    "healthy": ("HEALTHY", ":material/check:", "blue"),
    "inconclusive": ("CANNOT TELL", ":material/question_mark:", "gray"),
}


def show_bar(page: str) -> None:
    """Picker, badge and downloads. The page that compares picks for itself."""
    if page == "Compare":
        return
    runs = list(all_runs())
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if len(runs) > 1:
            st.selectbox("Run", runs, key="run", bind="query-params", width=340)
        opened = current()
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", width="content"):
            label, icon, colour = BADGES[opened.diagnosis.verdict]
            st.badge(label, icon=icon, color=colour)
            _downloads(opened)


def _downloads(opened: Opened) -> None:
    st.download_button(
        "Diagnosis (JSON)",
        opened.diagnosis.to_json,
        file_name=f"{opened.id}-diagnosis.json",
        mime="application/json",
        icon=":material/download:",
        on_click="ignore",
    )
