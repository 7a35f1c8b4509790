"""What changed between two runs?"""

import streamlit as st

from kddoctor.app.charts.metric_changes import change_interval, dumbbells
from kddoctor.app.charts.training_curves import curve_of_both
from kddoctor.app.current import all_runs
from kddoctor.app.example import go_to
from kddoctor.app.figure import nothing, numbers
from kddoctor.app.navigation import link
from kddoctor.app.waiting import summary_of
from kddoctor.app.words import plain
from kddoctor.report.views import Missing, View

GLYPHS = {
    "new": "+ new",
    "worse": "▲ worse",
    "same": "= same",
    "better": "▼ better",
    "cured": "✓ cured",
    "not examined": "? not examined",
}


def swap() -> None:
    """A becomes B."""
    state = st.session_state
    state["a"], state["b"] = state["b"], state["a"]


def shown(view: View | Missing) -> View | None:
    """The view under its question and answer, or what to record."""
    st.header(plain(view.question))
    if isinstance(view, Missing):
        nothing(view)
        return None
    st.markdown(plain(view.answer))
    return view


def metrics(view: View) -> None:
    """Metrics with their intervals, and the flips."""
    flips = view.frame[view.frame["kind"] == "flip"]
    with st.container(horizontal=True):
        for _, row in flips.iterrows():
            st.metric(str(row["name"]).capitalize(), f"{row['rows']:,.0f}", border=True)
    left, right = st.columns(2)
    with left:
        st.caption("From A (circle) to B (square)")
        st.altair_chart(dumbbells(view, shares=True), alt=view.alt)
        st.altair_chart(dumbbells(view, shares=False), alt="Losses and divergences of A and B in nats.")
    with right:
        st.caption("Change from A to B, with its paired 95 % interval")
        st.altair_chart(change_interval(view), alt=f"Intervals of the changes. {view.answer}")
    numbers(view)


def picked() -> None:
    """A row of the flips is the example that other pages look at."""
    rows = st.session_state["flips"]["selection"]["rows"]
    if rows and flips is not None:
        go_to(flips.frame["row"].iloc[rows[0]])


runs = all_runs()
st.title("What changed between two runs?")
if len(runs) < 2:
    st.info(
        "Only one run is open. Start the app with two: `kddoctor app RUN_A RUN_B`. A treatment of this run appears "
        "here by itself.",
        icon=":material/info:",
    )
    st.stop()
with st.container(horizontal=True, vertical_alignment="bottom"):
    a = st.selectbox("A", list(runs), key="a", bind="query-params")
    st.button("Swap", on_click=swap, icon=":material/swap_horiz:")
    b = st.selectbox("B", list(runs), index=1, key="b", bind="query-params")
if a == b:
    st.info("A and B are the same run; choose another one.", icon=":material/info:")
    st.stop()
summary = summary_of(runs[a].path, runs[b].path)
differences = st.toggle("Differences only", value=True, key="diff", bind="query-params")

causes = shown(summary.view("cause_changes"))
if causes is not None and len(causes.frame):
    frame = causes.frame[causes.frame["change"] != "same"] if differences else causes.frame
    st.dataframe(
        frame.assign(change=frame["change"].map(GLYPHS)),
        hide_index=True,
        alt=causes.alt,
        column_config={
            "a": st.column_config.ProgressColumn("confidence in A", min_value=0, max_value=1, format="percent"),
            "b": st.column_config.ProgressColumn("confidence in B", min_value=0, max_value=1, format="percent"),
        },
    )
changes = summary.view("metric_changes")
st.header("How much better or worse?")
if isinstance(changes, Missing):
    nothing(changes)
else:
    st.markdown(plain(changes.answer))
    metrics(changes)
config = shown(summary.view("config_difference"))
if config is not None:
    frame = config.frame[config.frame["differs"]] if differences else config.frame
    st.dataframe(frame[["key", "a", "b"]], hide_index=True, alt=config.alt, column_config={"a": "A", "b": "B"})
turned = summary.view("flipped_examples")
flips = shown(turned)
if flips is not None and len(flips.frame):
    st.dataframe(
        flips.frame,
        hide_index=True,
        key="flips",
        on_select=picked,
        selection_mode="single-row",
        alt=flips.alt,
        column_config={
            "a": "answer of A",
            "b": "answer of B",
            "loss_change": st.column_config.NumberColumn(format="%+.2f"),
        },
    )
    if "ex" in st.session_state:
        chosen = str(st.session_state["ex"])
        with st.container(horizontal=True):
            link("examples", f"Example {chosen} in A", ":material/image_search:", run=a, ex=chosen)
            link("examples", f"Example {chosen} in B", ":material/image_search:", run=b, ex=chosen)
curves = shown(summary.view("curves_of_two"))
if curves is not None:
    columns = st.columns(2)
    for number, ((key, split), frame) in enumerate(curves.frame.groupby(["key", "split"], sort=False)):
        with columns[number % 2]:
            st.subheader(plain(f"{str(key).replace('_', ' ')}, {split}"), anchor=False)
            st.altair_chart(curve_of_both(frame), alt=f"{key} on {split} in both runs.")
