"""No traceback reaches a user of the app: what failed, in one sentence, and where the details are."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from kddoctor.app.words import plain
from kddoctor.errors import KDDoctorError, logged_failure

#: As the exit codes of the command line.
BAD_INPUT, FAILED = 2, 4


@contextmanager
def guarded() -> Iterator[None]:
    """Turn whatever is raised inside into a message on the page."""
    try:
        yield
    except KDDoctorError as error:
        st.error(f"**This cannot be shown** (code {BAD_INPUT}). {plain(str(error))}", icon=":material/error:")
    except Exception as error:  # the last resort, as on the command line
        failure = logged_failure(error)
        st.error(
            f"**kddoctor failed** (code {FAILED}). {plain(failure.reason)}  \n"
            f"This is a bug; the details are in `{failure.log}`.",
            icon=":material/error:",
        )
