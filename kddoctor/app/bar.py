"""What stands above every page of one run: which run, its verdict, and files to take away."""

from collections.abc import Mapping
from typing import Literal

import streamlit as st

from kddoctor.app.current import Opened, all_runs, current
from kddoctor.app.navigation import link
from kddoctor.app.pinned import pinned_strip
from kddoctor.app.runs import OpenRun

BADGES: Mapping[str, tuple[str, str, Literal["orange", "blue", "gray"]]] = {
    "sick": ("SICK", ":material/close:", "orange"),
    "healthy": ("HEALTHY", ":material/check:", "blue"),
    "inconclusive": ("CANNOT TELL", ":material/question_mark:", "gray"),
}


def show_bar(page: str) -> None:
    """Picker, badge and downloads. The page that compares picks for itself."""
    if page == "Compare":
        return
    runs = all_runs()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if len(runs) > 1:
            st.selectbox("Run", list(runs), key="run", bind="query-params", width=340)
        opened = current()
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", width="content"):
            label, icon, colour = BADGES[opened.diagnosis.verdict]
            st.badge(label, icon=icon, color=colour)
            if len(runs) > 1:
                other = _counterpart(opened.id, runs)
                link("compare", "Compare", ":material/compare_arrows:", a=opened.id, b=other)
            _downloads(opened)
    pinned_strip(opened)


def _counterpart(picked: str, runs: Mapping[str, OpenRun]) -> str:
    """What a run is compared with: its treatment, or what it is a treatment of, or else any other run."""
    mine = [run.id for run in runs.values() if picked in (run.treated_from, run.id)]
    before = runs[picked].treated_from
    others = [*([before] if before else []), *mine, *runs]
    return next(name for name in others if name != picked)


def _downloads(opened: Opened) -> None:
    report = opened.summary.report()
    st.download_button(
        "Report (HTML)",
        b"" if report is None else report.read_bytes,
        file_name=f"{opened.id}-diagnosis.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
        disabled=report is None,
        help=None if report is not None else "The report is being written; look again in a moment.",
    )
    st.download_button(
        "Diagnosis (JSON)",
        opened.diagnosis.to_json,
        file_name=f"{opened.id}-diagnosis.json",
        mime="application/json",
        icon=":material/download:",
        on_click="ignore",
    )
