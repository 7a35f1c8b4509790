"""What both models look at in one example, side by side; computed only when somebody asks for it."""

import streamlit as st

from kddoctor.app.attributing import Found, attribution_file, compute_attribution, find_attribution
from kddoctor.app.charts.attribution_bars import attribution_bars
from kddoctor.app.current import Opened
from kddoctor.app.guard import guarded
from kddoctor.app.heat import heat_image, is_image
from kddoctor.app.inputs import draw_input
from kddoctor.app.trust import may_run_code
from kddoctor.app.words import plain
from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.report.views.class_names import class_namer
from kddoctor.report.views.raw_input import describe_input

METHODS = ("integrated gradients", "saliency", "occlusion", "grad-cam")


def attributions(opened: Opened, row: int) -> None:
    """The pills, the question, and both maps."""
    st.subheader("What do they look at?", anchor=False)
    lacking = _lacking(opened)
    if lacking:
        st.info(f"Attributions need the models. Record {lacking}.", icon=":material/info:")
        return
    if not may_run_code():
        return
    split = held_out_split(opened.run)
    method = st.pills("Method", METHODS, default=METHODS[0], key="method", bind="query-params", required=True)
    file = attribution_file(opened.run, opened.state, split, row, method or METHODS[0])
    found = find_attribution(file)
    if found is None:
        _ask(opened, split, row, method or METHODS[0])
        found = find_attribution(file)
    if found is not None:
        _show(opened, found)


def _lacking(opened: Opened) -> str:
    if opened.run.manifest.code is None:
        return "where they come from: `kddoctor.record(…, code={…}, save_checkpoints=True)`"
    if opened.run.checkpoint("teacher") is None or opened.run.checkpoint("student") is None:
        return "their weights: `kddoctor.record(…, save_checkpoints=True)`"
    return ""


def _ask(opened: Opened, split: str, row: int, method: str) -> None:
    st.markdown(
        "This imports the code that `kd_run.yaml` names and runs both models, with your rights, in a process of its "
        "own. Do it only where you trust whoever wrote this run."
    )
    trusted = st.checkbox("I trust the code of this run", key=f"trust-{opened.id}", persist_state="session")
    if st.button("Compute", disabled=not trusted, icon=":material/play_arrow:", key="compute"):
        with guarded(), st.spinner("Loading both models…", show_time=True):
            file = attribution_file(opened.run, opened.state, split, row, method)
            compute_attribution(opened.path, split, row, method, file)


def _show(opened: Opened, found: Found) -> None:
    name = class_namer(opened.run.manifest)(found.target)
    st.markdown(f"What speaks for the teacher's answer, {plain(name)}:")
    with st.container(horizontal=True):
        agreement = "–" if found.agreement is None else f"{found.agreement:+.2f}"
        st.metric(
            "Agreement", agreement, border=True, help="Rank correlation of the sizes of both attributions, −1 to 1."
        )
        overlap = "–" if found.overlap is None else f"{found.overlap:.0%}"
        st.metric(
            "Same top tenth", overlap, border=True, help="Of the tenth of the input that counts most, what both share."
        )
    for warning in found.warnings:
        st.warning(plain(warning), icon=":material/warning:")
    if is_image(found.inputs):
        _maps(found)
    else:
        described = describe_input(found.inputs, (opened.run.manifest.model_extra or {}).get("input_names"))
        bars = attribution_bars(described.words, found.teacher, found.student)
        st.altair_chart(bars, alt="The parts of the input that count most for both models.")


def _maps(found: Found) -> None:
    columns = st.columns(3)
    with columns[0]:
        st.caption("Input")
        draw_input(describe_input(found.inputs))
    for column, model, values in ((columns[1], "Teacher", found.teacher), (columns[2], "Student", found.student)):
        with column:
            st.caption(f"{model}: orange speaks for it, blue against")
            if values is None:
                st.info("This method cannot be used on this model.", icon=":material/info:")
            else:
                st.image(heat_image(values), alt=f"Heat map of what the {model.lower()} looks at.")
    st.caption("Each map is scaled by its own largest value; both have the same colours.")
