"""Is the loss listening to the teacher?"""

import streamlit as st

from kddoctor.app.charts.loss_balance import cosine, loss_balance
from kddoctor.app.charts.training_curves import groups, training_curves
from kddoctor.app.current import current
from kddoctor.app.figure import nothing, numbers
from kddoctor.app.words import plain
from kddoctor.report.views import Missing, View
from kddoctor.report.views.curve_window import curve_window


def balance(view: View, window: tuple[float, float] | None) -> None:
    """The share of the teacher's term, and the cosine where it is known."""
    st.markdown(plain(view.answer))
    st.altair_chart(loss_balance(view, window), alt=view.alt)
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
                training_curves(view.frame[view.frame["key"].isin(keys)], window), alt=f"{title} over the training steps."
            )
    if window is not None:
        st.subheader("In these steps", anchor=False)
        st.dataframe(curve_window(view, *window), hide_index=True, alt="What each curve did in the chosen steps.")
    numbers(view)


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
nothing(share) if isinstance(share, Missing) else balance(share, chosen)
st.header("How did the training go?")
nothing(logged) if isinstance(logged, Missing) else curves(logged, chosen)
