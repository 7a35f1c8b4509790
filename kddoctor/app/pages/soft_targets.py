"""Is the teacher's signal soft enough?"""

import streamlit as st

from kddoctor.app.charts.entropy_curve import entropy_curve, mass_outside
from kddoctor.app.charts.entropy_histogram import entropy_histogram
from kddoctor.app.charts.soft_targets_of import soft_targets_of as bars
from kddoctor.app.current import Opened, current
from kddoctor.app.example import example_number
from kddoctor.app.figure import figure, nothing, numbers
from kddoctor.app.guard import guarded
from kddoctor.app.words import plain
from kddoctor.report.views import Missing, soft_targets_of

LOWEST, HIGHEST = 0.5, 32.0


def _set(temperature: float) -> None:
    st.session_state["T"] = min(HIGHEST, max(LOWEST, round(2 * temperature) / 2))


@st.fragment
def _signal(opened: Opened) -> None:
    with guarded():
        view = opened.view("entropy_curve")
        if isinstance(view, Missing):
            nothing(view)
            return
        own = view.marks.get("temperature")
        if "T" not in st.session_state and "T" not in st.query_params:
            _set(own or 4.0)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            chosen = st.slider(
                "Temperature T", LOWEST, HIGHEST, step=0.5, key="T", bind="query-params", width="stretch"
            )
            if own is not None:
                st.button("This run's T", on_click=_set, args=(own,), icon=":material/my_location:")
            if "sweet_low" in view.marks:
                middle = (view.marks["sweet_low"] * view.marks["sweet_high"]) ** 0.5
                st.button("Sweet spot", on_click=_set, args=(middle,), icon=":material/target:")
        st.markdown(plain(view.answer))
        left, right = st.columns([3, 2])
        with left:
            st.altair_chart(entropy_curve(view, chosen), alt=view.alt)
            st.altair_chart(mass_outside(view, chosen), alt="Mass outside the teacher's top class, rising with T.")
            _spread(opened, chosen)
        with right:
            _one_example(opened, chosen)
        numbers(view)


def _spread(opened: Opened, chosen: float) -> None:
    view = opened.view("entropy_histogram")
    if isinstance(view, Missing):
        return  # said above, for the curve
    st.altair_chart(entropy_histogram(view, chosen), alt=f"At T = {chosen:g}: {view.alt}")


def _one_example(opened: Opened, chosen: float) -> None:
    row = example_number(opened)
    targets = soft_targets_of(opened.run, row, (chosen,))
    if isinstance(targets, Missing):
        nothing(targets)
        return
    st.markdown(plain(targets.answer))
    st.altair_chart(bars(targets, chosen), alt=targets.alt)


here = current()
st.title("Is the teacher's signal soft enough?")
_signal(here)
figure(here.view("reliability"))
