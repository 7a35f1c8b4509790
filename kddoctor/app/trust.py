"""Whether the app may run code of a record at all: only where nobody but the user of this machine can ask for it."""

import streamlit as st

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def may_run_code() -> bool:
    """Whether the app is served on loopback alone; otherwise the page says why it will not."""
    if st.get_option("server.address") in LOOPBACK:
        return True
    st.info(
        "Code of a run is only run where the app is served on this machine alone: start it with `kddoctor app`.",
        icon=":material/lock:",
    )
    return False
