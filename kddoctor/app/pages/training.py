"""Is the loss listening to the teacher?"""

import pandas as pd
import streamlit as st

from kddoctor.app.charts.loss_balance import cosine, loss_balance
from kddoctor.app.charts.training_curves import groups, training_curves
from kddoctor.app.current import current
from kddoctor.app.figure import figure, nothing, numbers
from kddoctor.app.words import plain
from kddoctor.report.views import Missing, View
from kddoctor.report.views.curve_window import curve_window
from kddoctor.report.views.training_events import GLYPHS
from kddoctor.report.views.view import Event


def balance(view: View, window: tuple[float, float] | None, events: tuple[Event, ...]) -> None:
    """The share of the teacher's term, and the cosine where it is known."""
    st.markdown(plain(view.answer))
    st.altair_chart(loss_balance(view, window, events), alt=view.alt)
    if view.frame["cosine"].notna().any():
        st.altair_chart(cosine(view, window), alt="Cosine between the gradients of the two terms over the steps.")
    numbers(view)


def curves(view: View, window: tuple[float, float] | None) -> None:
    """All that was logged, and a table of the window."""
    st.markdown(plain(view.answer))
    grouped = groups(list(dict.fromkeys(view.frame["key"])))
    columns = st.columns(2)
    for number, (title, keys) in enumerate(grouped.items()):
        with columns[number % 2]:
            st.subheader(plain(title[:1].upper() + title[1:]), anchor=False)
            st.altair_chart(
                training_curves(view.frame[view.frame["key"].isin(keys)], window, view.events),
                alt=f"{title} over the training steps.",
            )
    happened(view.events, window)
    if window is not None:
        st.subheader("In these steps", anchor=False)
        st.dataframe(curve_window(view, *window), hide_index=True, alt="What each curve did in the chosen steps.")
    numbers(view)


def happened(events: tuple[Event, ...], window: tuple[float, float] | None) -> None:
    """The marks of the pictures, in words."""
    shown = [event for event in events if window is None or window[0] <= event.step <= window[1]]
    if not shown:
        return
    st.subheader("What happened when", anchor=False)
    signs = [" ".join(GLYPHS[event.kind]) for event in shown]
    st.dataframe(
        pd.DataFrame({"step": [event.step for event in shown], "mark": signs, "what": [e.text for e in shown]}),
        hide_index=True,
        alt=f"{len(shown)} moments that the pictures mark.",
    )


opened = current()
logged, share = opened.view("training_curves"), opened.view("loss_balance")
st.title("Is the loss listening to the teacher?")
chosen: tuple[float, float] | None = None
steps = [view.frame["step"] for view in (logged, share) if isinstance(view, View)]
if steps:
    first, last = int(min(part.min() for part in steps)), int(max(part.max() for part in steps))
    if last > first:
        low, high = st.slider("Steps", first, last, (first, last), key="steps", bind="query-params")
        chosen = float(low), float(high)
if isinstance(share, Missing):
    nothing(share)
else:
    balance(share, chosen, logged.events if isinstance(logged, View) else ())
st.header("How did the training go?")
if isinstance(logged, Missing):
    nothing(logged)
else:
    curves(logged, chosen)
figure(opened.view("capacity_or_training"))
