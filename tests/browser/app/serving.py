"""A server of the app for the browser to look at."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import kddoctor
from kddoctor.app.launching import PAGES

PATHS = tuple(PAGES)
ROOT = Path(kddoctor.__file__).parents[1]


def _free_port() -> int:
    """One that the system gives: several processes of tests start servers at a time, and would all find the same."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """``kddoctor app`` on these runs. url, socket_url: what its own requests begin with."""

    def __init__(self, folder: Path, *runs: Path) -> None:
        self.folder, self.runs, self.port = folder, runs, _free_port()
        self.url, self.socket_url = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = [*map(str, self.runs), "--port", str(self.port), "--no-browser"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(self.folder)}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kddoctor", "app", *arguments], stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        """Interrupt it, as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """Another process at the same address."""
        self.stop()
        self.start()


def go(page: Any, server: Server, name: str, query: str = "") -> Any:
    """Open a page of the app and wait until it is drawn."""
    page.goto(f"{server.url}/{PAGES[name]}{query}")
    page.get_by_role("heading", level=1).wait_for(timeout=60_000)
    settled(page)
    return page


#: Whether nothing has been drawn or waited for during the last 600 ms: parts of a page come one after the other.
CALM = """() => {
    const selector = '[data-testid=stStatusWidget], [data-stale=true], [data-testid=stSkeleton]';
    const now = performance.now();
    if (window.calmSince === undefined || document.querySelector(selector)) window.calmSince = now;
    return now - window.calmSince > 600;
}"""


def settled(page: Any) -> None:
    """Wait until nothing is being drawn."""
    page.evaluate("() => { delete window.calmSince }")
    page.wait_for_function(CALM, timeout=60_000)


def drawn(page: Any) -> None:
    """Wait until charts, too, have drawn themselves, with code that they fetch only then."""
    page.wait_for_load_state("networkidle")
    settled(page)
    page.wait_for_timeout(1500)
