"""Do the layers match?"""

from math import isnan

import streamlit as st

from kddoctor.app.charts.layer_spectra import layer_spectra
from kddoctor.app.charts.similarity_over_time import similarity_over_time
from kddoctor.app.current import current
from kddoctor.app.figure import figure
from kddoctor.app.words import plain
from kddoctor.report.views import View

BETWEEN = " ~ "


def picked() -> None:
    """The chart only moves the widget, which has the keyboard and the URL."""
    cell = st.session_state["cka"]["selection"].get("cell") or []
    if cell:
        st.session_state["pair"] = f"{cell[0]['teacher_layer']}{BETWEEN}{cell[0]['student_layer']}"


def pair_detail(view: View) -> None:
    """One pair of layers: how alike, and how to use it as a hint."""
    frame = view.frame.assign(pair=view.frame["teacher_layer"] + BETWEEN + view.frame["student_layer"])
    pairs = list(frame["pair"])
    suggested = pairs.index(frame.loc[frame["suggested"], "pair"].iloc[0])
    chosen = st.selectbox("Layer pair (teacher ~ student)", pairs, index=suggested, key="pair", bind="query-params")
    row = frame[frame["pair"] == chosen].iloc[0]
    with st.container(horizontal=True):
        error = row["standard_error"]
        st.metric(
            "CKA",
            f"{row['cka']:.3f}",
            None if isnan(error) else f"± {error:.3f}",
            delta_color="off",
            delta_arrow="off",
            border=True,
        )
        for model in ("teacher", "student"):
            _size(model, row[f"{model}_layer"])
    said = [
        text
        for flag, text in (
            ("on_path", "It lies on the path of matching layers."),
            ("declared", "This run declares it as a pair for the feature loss."),
            (
                "suggested",
                "It is the pair that is suggested for a hint: the student's middle layer with its best match.",
            ),
        )
        if row[flag]
    ]
    st.markdown(" ".join(said) or "It is neither declared nor on the path of matching layers.")
    _over_time(str(row["teacher_layer"]), str(row["student_layer"]))
    _spectra(str(row["teacher_layer"]), str(row["student_layer"]))
    st.code(f"distillation:\n  feature_layers: [[{row['teacher_layer']}, {row['student_layer']}]]", language=None)


def _over_time(teacher: str, student: str) -> None:
    """The same pair at every snapshot; what to record is said below, once."""
    if not isinstance(history, View):
        return
    table = history.frame
    found = table[(table["teacher_layer"] == teacher) & (table["student_layer"] == student)]
    if len(found):
        st.caption("Over the training; dashed: the pairs that match at the end.")
        said = f"CKA of {teacher} and {student} from {found['cka'].iloc[0]:.2f} to {found['cka'].iloc[-1]:.2f}."
        st.altair_chart(similarity_over_time(history, (teacher, student)), alt=said)


def _spectra(teacher: str, student: str) -> None:
    """In how many directions both layers vary, and how large they are."""
    if not isinstance(spectra, View):
        return
    norms = spectra.frame.drop_duplicates(["model", "layer"]).set_index(["model", "layer"])["norm"]
    pair = [("teacher", teacher), ("student", student)]
    if not all(key in norms.index for key in pair):
        return
    said = " and ".join(f"{norms[key]:.3g} ({key[0]})" for key in pair)
    st.caption(f"Variance by direction; mean length of a row: {said}.")
    st.altair_chart(layer_spectra(spectra, teacher, student), alt=f"Variance of {teacher} and {student} by direction.")


def _size(model: str, layer: str) -> None:
    if isinstance(dimensions, View):
        table = dimensions.frame
        found = table[(table["model"] == model) & (table["layer"] == layer)]
        if len(found):
            one = found.iloc[0]
            st.metric(
                f"{model}: {layer}",
                f"{one['effective']:.1f} dimensions",
                f"of {one['units']:,} units",
                delta_color="off",
                delta_arrow="off",
                border=True,
            )


opened = current()
similarity, dimensions = opened.view("layer_similarity"), opened.view("layer_dimensions")
history, spectra = opened.view("similarity_over_time"), opened.view("layer_spectra")
st.title("Do the layers match?")
left, right = st.columns([3, 2], gap="large")
with left:
    shown = figure(similarity, key="cka", on_select=picked)
    if shown:
        st.caption(
            "Dots: the path of matching layers. Ring: declared pair. Star: suggested pair. Click a cell, or choose "
            "the pair beside."
        )
with right:
    if isinstance(similarity, View):
        st.header("One pair")
        pair_detail(similarity)
figure(history)
if isinstance(dimensions, View):
    st.header(plain(dimensions.question))
    st.markdown(plain(dimensions.answer))
    st.dataframe(
        dimensions.frame,
        hide_index=True,
        alt=dimensions.alt,
        column_config={
            "effective": st.column_config.NumberColumn("effective dimensions", format="%.1f"),
            "read_out": st.column_config.ProgressColumn("read-out", min_value=0, max_value=1, format="percent"),
        },
    )
    for note in dimensions.notes:
        st.caption(plain(note))
