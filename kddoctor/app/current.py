"""The run that a page shows, opened: picked by its id in the URL among those of the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from kddoctor.app.cache import signature
from kddoctor.app.runs import OpenRun, open_runs
from kddoctor.app.summary import Summary
from kddoctor.app.waiting import summary_of
from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.report.views import Missing, View
from kddoctor.run.directory import Run, load


@dataclass(frozen=True)
class Opened:
    """One run with what was worked out from it. state: changes when its files do."""

    id: str
    path: Path
    state: str
    run: Run
    summary: Summary
    diagnosis: Diagnosis

    def view(self, name: str) -> View | Missing:
        """One picture's numbers."""
        return _view(self.summary.directory, name)


def all_runs() -> Mapping[str, OpenRun]:
    """Those that may be picked."""
    return open_runs()


def current() -> Opened:
    """The picked run. Where it was never diagnosed the page ends here and shows how far that is."""
    runs = all_runs()
    picked = st.session_state.get("run")
    return opened(runs[picked] if picked in runs else next(iter(runs.values())))


def opened(which: OpenRun) -> Opened:
    """One run by its id. Raises RunError where its directory cannot be read."""
    state = signature(which.path)
    run = _run(which.path, state)
    summary = summary_of(which.path)
    return Opened(which.id, which.path, state, run, summary, _diagnosis(summary.directory))


# Keyed by path and state, which are short; values are shared by all sessions and never changed.


@st.cache_resource(max_entries=16, show_spinner=False)
def _run(path: Path, state: str) -> Run:
    return load(path)


@st.cache_resource(max_entries=16, show_spinner=False)
def _diagnosis(directory: Path) -> Diagnosis:
    return Summary(directory).diagnosis()


@st.cache_resource(max_entries=200, show_spinner=False)
def _view(directory: Path, name: str) -> View | Missing:
    return Summary(directory).view(name)
