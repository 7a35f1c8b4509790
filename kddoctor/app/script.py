"""Every page of the app: title, navigation, the bar that all pages share, then the page itself."""

import sys
from pathlib import Path

import streamlit as st

from kddoctor.app.bar import show_bar
from kddoctor.app.guard import guarded
from kddoctor.app.navigation import pages

ICON = Path(__file__).parent / "assets" / "icon.png"


def main() -> None:
    """Draw the page of this URL."""
    st.set_page_config(page_title="kddoctor", page_icon=str(ICON), layout="wide")
    page = st.navigation(pages(), position="top")
    with guarded():
        if len(sys.argv) < 2:
            st.info("No run is given. Start the app with `kddoctor app RUN_DIR …`", icon=":material/info:")
            return
        show_bar(page.title)
        page.run()


if __name__ == "__main__":
    main()
