"""The page while a summary is made: what is being done, how far it is, and what went wrong."""

import time
from pathlib import Path

import streamlit as st

from kddoctor.app.preparing import forget_failure, preparation, start_preparing
from kddoctor.app.summary import Summary, find_summary
from kddoctor.app.words import plain


def summary_of(*runs: Path) -> Summary:
    """The summary of these runs as they are now. Where there is none it is begun, and the page ends here and waits."""
    found = find_summary(*runs)
    if found is not None:
        return found
    if preparation(*runs) is None:
        start_preparing(*runs)
    _wait(runs)
    st.stop()


@st.fragment(run_every=0.5)
def _wait(runs: tuple[Path, ...]) -> None:
    if find_summary(*runs) is not None:
        st.rerun()
    state = preparation(*runs)
    if state is None:  # the summary came to be between the two looks, or the run changed
        st.rerun()
    elif state.error is not None:
        _failed(runs, state.error, state.log)
    elif not state.is_running:
        _failed(runs, "it ended before it was done", None)
    else:
        names = " and ".join(plain(run.name) for run in runs)
        seconds = time.time() - state.process.started
        st.progress(
            max(0.02, state.done / state.of),
            text=f"Looking at {names}: {state.doing} ({state.done + 1} of {state.of}, {seconds:.0f} s)",
        )


def _failed(runs: tuple[Path, ...], error: str, log: str | None) -> None:
    where = f"  \nThis is a bug; the details are in `{log}`." if log else ""
    st.error(f"**This run cannot be diagnosed.** {plain(error)}{where}", icon=":material/error:")
    if st.button("Try again", icon=":material/refresh:"):
        forget_failure(*runs)
        st.rerun()
