"""Servers and pages for the browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kddoctor.app.preparing import prepare
from kddoctor.app.treatments import stop, treatments_of
from tests.app.runs import full_run
from tests.browser.app.serving import Server
from tests.treatment.recorded import sick_run

#: Streamlit asks for its own addresses below the page first, and is told that they are not there.
KNOWN = ("status of 404",)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache, elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDDOCTOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sick run that holds everything, and a healthy one of the same examples."""
    folder = tmp_path_factory.mktemp("app")
    runs = [full_run(folder / "blobs"), sick_run(folder / "sound", t_squared=True)]
    for chosen in (runs[:1], runs[1:], runs):
        prepare(*chosen)
    started = Server(folder, *runs)
    yield started
    started.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """One whose run this test may treat."""
    run = sick_run(tmp_path / "blobs")
    prepare(run)
    started = Server(tmp_path, run)
    yield started
    started.stop()
    for state in treatments_of(run):  # They outlive the server, and a test that failed has not stopped its own.
        stop(state)


@pytest.fixture
def browsing(chromium: Any) -> Iterator[Any]:
    """``browsing(scheme)``: an empty page that remembers its requests and what its console said."""
    contexts = []

    def page_of(scheme: str) -> Any:
        context = chromium.new_context(
            color_scheme=scheme, viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("websocket", lambda socket: page.asked.append(socket.url))
        page.on("console", lambda message: _note(page, message))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        return page

    yield page_of
    for context in contexts:
        context.close()


def _note(page: Any, message: Any) -> None:
    if message.type == "error" and not any(known in message.text for known in KNOWN):
        page.said.append(message.text)
