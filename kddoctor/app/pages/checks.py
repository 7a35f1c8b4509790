"""What exactly was tested?"""

import streamlit as st

from kddoctor.app.current import current
from kddoctor.app.explaining import explain_button
from kddoctor.app.words import plain
from kddoctor.report.views import View

opened = current()
view = opened.view("checks")
assert isinstance(view, View)

st.title(view.question)
st.markdown(plain(view.answer))
states = list(dict.fromkeys(view.frame["state"]))
with st.container(horizontal=True, vertical_alignment="bottom"):
    wanted = st.pills("State", states, selection_mode="multi", key="state", bind="query-params")
    text = st.text_input("Search", key="search", bind="query-params", placeholder="code, name or words", width=280)

frame = view.frame
if wanted:
    frame = frame[frame["state"].isin(wanted)]
if text:
    words = frame[["code", "name", "family", "title"]].agg(" ".join, axis=1)
    frame = frame[words.str.contains(text, case=False, regex=False)]
st.caption(f"{len(frame)} of {len(view.frame)} checks")


def picked() -> None:
    """A row of the table sets the code."""
    rows = st.session_state["checks"]["selection"]["rows"]
    if rows:
        st.session_state["code"] = frame["code"].iloc[rows[0]]


st.dataframe(
    frame,
    hide_index=True,
    key="checks",
    on_select=picked,
    selection_mode="single-row",
    height=420,
    alt=f"{len(frame)} checks with what became of them in this run.",
    column_config={
        "confidence": st.column_config.ProgressColumn("confidence", min_value=0, max_value=1, format="percent"),
        "how": st.column_config.TextColumn("what to record", width="large"),
    },
)
st.download_button(
    "Checks (CSV)",
    frame.to_csv(index=False),
    file_name=f"{opened.id}-checks.csv",
    mime="text/csv",
    icon=":material/download:",
    on_click="ignore",
)
st.header("One check")
codes = list(view.frame["code"])
code = st.selectbox("Code", codes, key="code", bind="query-params", width=200)
row = view.frame[view.frame["code"] == code].iloc[0]
st.markdown(f"**{plain(row['title'])}** ({plain(row['family'])}): {plain(row['state'])}")
if row["how"]:
    st.markdown(f"To have it judged, {plain(row['how'])}.")
explain_button(code)
