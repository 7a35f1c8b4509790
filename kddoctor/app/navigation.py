"""The pages, and links from one to another that keep the picked run."""

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

FOLDER = Path(__file__).with_name("pages")
#: Title, file and address of each page. The last one is under "More": a bar holds seven.
PAGES = (
    ("Verdict", "verdict", None),
    ("Signal", "soft_targets", "signal"),
    ("Layers", "layers", "layers"),
    ("Examples", "examples", "examples"),
    ("Training", "training", "training"),
    ("Compare", "compare", "compare"),
    ("Treatment", "treatment", "treat"),
    ("Checks", "checks", "checks"),
)


def pages() -> dict[str, list[StreamlitPage]]:
    """For ``st.navigation``."""
    made = [
        st.Page(FOLDER / f"{file}.py", title=title, url_path=url, default=url is None) for title, file, url in PAGES
    ]
    return {"": made[:7], "More": made[7:]}


def link(file: str, label: str, icon: str, **parameters: str) -> None:
    """A link to a page with this state, of the picked run."""
    run = st.query_params.get("run")
    state = ({"run": run} if run else {}) | parameters
    st.page_link(str(FOLDER / f"{file}.py"), label=label, icon=icon, query_params=state)
