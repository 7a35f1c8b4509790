"""Pages of the app as Streamlit's own test runner draws them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kddoctor.app import script
from kddoctor.app.preparing import prepare

FILES = ("verdict", "soft_targets", "layers", "examples", "training", "compare", "treatment", "checks")


class App:
    """``app(page, …)`` draws a page of the runs it was made with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *runs: Path) -> None:
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, runs)])
        for run in runs:
            prepare(run)

    def __call__(self, page: str = "verdict", **query: Any) -> AppTest:
        shown = AppTest.from_file(script.__file__, default_timeout=60)
        shown = shown.run() if page != "verdict" else shown
        for key, value in query.items():
            shown.query_params[key] = value
        if page != "verdict":
            shown.switch_page(f"pages/{page}.py")
        return shown.run()


def text_of(page: AppTest) -> str:
    """All that a reader sees in words."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error", "code")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(page, kind))
