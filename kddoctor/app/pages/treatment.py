"""Will the treatment work? Start it, watch it, stop it, go on with it."""

import shlex

import streamlit as st

from kddoctor.app.charts.metric_changes import dumbbells
from kddoctor.app.charts.treatment_progress import treatment_progress
from kddoctor.app.current import Opened, all_runs, current
from kddoctor.app.figure import numbers
from kddoctor.app.guard import guarded
from kddoctor.app.navigation import link
from kddoctor.app.treatments import (
    TreatmentState,
    command_of,
    forget,
    free_output,
    start,
    stop,
    treatments_of,
)
from kddoctor.app.trust import may_run_code
from kddoctor.app.waiting import summary_of
from kddoctor.app.words import percent, plain
from kddoctor.engine.diagnosis import FindingReport
from kddoctor.errors import UsageError
from kddoctor.report.views import View
from kddoctor.treatment.offer import Offer, offer_of, usual_causes

TITLES = {"running": "Treating", "stopped": "Stopped", "failed": "Failed", "done": "Done"}


def choose(opened: Opened, treatable: list[FindingReport]) -> None:
    """Which causes, what would be changed, and the button."""
    codes = [cause.code for cause in treatable]
    picked = st.pills(
        "Causes to treat",
        codes,  # bare: what a widget shows is what stands in the address
        selection_mode="multi",
        default=usual_causes(opened.run, opened.diagnosis),
        key="only",
        bind="query-params",
    )
    # Streamlit's code in a caption is too faint to read.
    st.caption("Chosen at first: those that kddoctor treat takes by itself, which is every cause that was shown.")
    if not picked:
        st.info("Choose at least one cause.", icon=":material/info:")
        return
    epochs = st.number_input(
        "Epochs (empty: the run's own)", 1, None, None, step=1, key="epochs", placeholder="the run's own", width=260
    )
    try:
        offer = offer_of(opened.run, opened.diagnosis, picked, epochs)
    except UsageError as error:
        st.info(f"This cannot be treated from here: {plain(str(error))}.", icon=":material/info:")
        return
    prescribed(offer, {cause.code: cause for cause in treatable})
    changes(offer)
    # In the order of the diagnosis, whatever was clicked first.
    code = ",".join(code for code in codes if code in picked)
    output = free_output(opened.path)
    st.caption("The same on a terminal:")
    st.code(shlex.join(command_of(opened.path, output, code, epochs)), language=None, wrap_lines=True)
    if not may_run_code():
        return
    running = any(state.status == "running" for state in treatments_of(opened.path))
    if st.button("Treat", icon=":material/healing:", disabled=running):
        ask(opened, code, epochs, script=offer.command is not None)
    if running:
        st.caption("A treatment of this run is at work; wait for it, or stop it.")


def prescribed(offer: Offer, causes: dict[str, FindingReport]) -> None:
    """One line a cause: what is changed, how safely, and what it is believed to be worth."""
    for code in offer.codes:
        change = offer.plan.prescription.for_code(code).changes[0]
        worth = causes[code].worth if code in causes else None
        said = "" if worth is None else f", worth {worth.points[0]:+.1f} to {worth.points[1]:+.1f} points (estimated)"
        title = plain(causes[code].title) if code in causes else ""
        st.markdown(f"**{code} {title}** {plain(change.what)} ({change.safety}{plain(said)})")
    for advice in offer.by_hand:
        st.markdown(f"**{plain(advice.finding)}, not carried out** {plain(advice.what)}")


def changes(offer: Offer) -> None:
    """The lines that differ, in the terms of whoever trains."""
    if offer.command is None:
        st.caption("What changes in kd_run.yaml and in the training loop:")
        st.code("\n".join(offer.diff) or "nothing in kd_run.yaml changes; the training loop does", language=None)
        return
    st.caption("Your own script is run, in a copy of the run's code; what changes in its arguments and settings:")
    st.code("\n".join(offer.diff) or "nothing", language=None)
    if f"+ {offer.command}" not in offer.diff:
        st.code(offer.command, language=None, wrap_lines=True)
    for doubt in offer.doubts:
        st.warning(plain(doubt), icon=":material/warning:")


@st.dialog("Run the training code of this run?", width="large")
def ask(opened: Opened, code: str, epochs: int | None, *, script: bool) -> None:
    """Nothing of a record is run before somebody says so."""
    output = free_output(opened.path)
    what = (
        "runs the script that `kd_run.yaml` names" if script else "imports and runs the code that `kd_run.yaml` names"
    )
    st.markdown(
        f"A treatment {what} in its `code` section, with your rights. Do it only where you trust whoever wrote this "
        "run. It goes on when this page or the app is closed."
    )
    st.code(shlex.join(command_of(opened.path, output, code, epochs)), language=None, wrap_lines=True)
    if st.button("Run it", icon=":material/play_arrow:"):
        with guarded():
            start(opened.path, output, code, epochs)
            st.rerun()


@st.fragment(run_every=1.0)
def watch(opened: Opened) -> None:
    """All treatments of this run, as their files tell at this moment."""
    with guarded():
        states = treatments_of(opened.path)
        finished = [state.output.name for state in states if state.status == "done"]
        before = st.session_state.setdefault(f"finished-{opened.id}", finished)
        if finished != before:
            # Another run can be picked and compared now: the whole page is drawn anew.
            st.session_state[f"finished-{opened.id}"] = finished
            st.rerun()
        if states:
            st.header("Treatments of this run")
        for state in states:
            with st.container(border=True, key=f"treatment-{state.output.name}"):
                one(opened, state)


def one(opened: Opened, state: TreatmentState) -> None:
    """One treatment."""
    what = plain(state.code.replace(",", ", ") or "experiments")
    st.subheader(f"{TITLES[state.status]}: {what} into {plain(state.output.name)}", anchor=False)
    if state.status in ("running", "stopped"):
        progress(state)
    if state.status == "failed":
        st.error(plain(state.last_line or "It ended without a word."), icon=":material/error:")
    elif state.status == "stopped" and state.last_line.startswith("kddoctor:"):
        st.warning(plain(state.last_line), icon=":material/warning:")
    with st.container(horizontal=True):
        if state.status == "running":
            st.button("Stop", key=f"stop-{state.output.name}", icon=":material/stop:", on_click=stop, args=(state,))
        elif state.status == "stopped":
            again = (opened.path, state.output, state.code, state.epochs_asked)
            if st.button("Resume", key=f"resume-{state.output.name}", icon=":material/play_arrow:"):
                start(*again, resume=True)
                st.rerun(scope="fragment")
            st.code(shlex.join(command_of(*again, resume=True)), language=None, wrap_lines=True)
        elif state.status == "failed":
            st.button("Dismiss", key=f"forget-{state.output.name}", on_click=forget, args=(state,))
        else:
            result(opened, state)


def progress(state: TreatmentState) -> None:
    """How far it is, and the student so far."""
    if not state.epochs:
        at_work = "at work; epochs show here where kddoctor's own loop trains"
        st.progress(0.0, text=at_work if state.status == "running" else "no epoch was finished")
        if state.status == "running" and state.last_line:
            st.caption(f"Its last line: {plain(state.last_line)}")
        return
    last = state.epochs[-1]
    left = ""
    if state.status == "running" and len(state.epochs) > 1:
        seconds = (last.time - state.epochs[0].time) / (last.epoch - state.epochs[0].epoch)
        left = f", about {seconds * (last.epochs - last.epoch):.0f} s left"
    st.progress(
        last.epoch / last.epochs,
        text=f"epoch {last.epoch} of {last.epochs}, student {percent(last.accuracy)}{left}",
    )
    if state.begun is not None:
        st.altair_chart(
            treatment_progress(state.begun, state.epochs),
            alt=f"Accuracy of the treated student by epoch, now {percent(last.accuracy)}.",
        )


def result(opened: Opened, state: TreatmentState) -> None:
    """Where a finished one can be looked at."""
    treated = next((r for r in all_runs().values() if r.path.resolve() == state.output), None)
    if treated is not None:
        link("verdict", "Its verdict", ":material/stethoscope:", run=treated.id)
        link("compare", "Compare before and after", ":material/compare_arrows:", a=opened.id, b=treated.id)


def before_and_after(opened: Opened) -> None:
    """The last finished treatment, on the same rows."""
    done = [state for state in treatments_of(opened.path) if state.status == "done"]
    if not done:
        return
    names = [state.output.name for state in done]
    chosen = names[-1] if len(names) == 1 else st.selectbox("Treated run", names, index=len(names) - 1, key="treated")
    view = summary_of(opened.path, done[names.index(chosen)].output).view("metric_changes")
    st.header("Did the treatment work?")
    if isinstance(view, View):
        st.markdown(plain(view.answer))
        st.altair_chart(dumbbells(view, shares=True), alt=view.alt)
        numbers(view)


here = current()
st.title("Will the treatment work?")
automatic = [c for c in here.diagnosis.causes if c.prescription is not None and c.prescription.automatic]
by_hand = [c for c in here.diagnosis.causes if c.prescription is not None and not c.prescription.automatic]
if here.diagnosis.verdict != "sick":
    st.info(f"There is nothing to treat: the run is {here.diagnosis.verdict}.", icon=":material/info:")
elif here.run.manifest.code is None and automatic:
    st.info(
        "The run names no code to retrain with. Record it with `kddoctor.record(…, code={…}, save_checkpoints=True)`.",
        icon=":material/info:",
    )
elif automatic:
    choose(here, automatic)
for cause in by_hand:
    assert cause.prescription is not None
    st.markdown(f"**{cause.code}, by hand** {plain(cause.prescription.summary)}")
watch(here)
before_and_after(here)
