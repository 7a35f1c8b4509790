"""Starts the app's server in this process: everything heavy is imported before the first page is asked for."""

import socket
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import URLError

from kddoctor.app.options import OPTIONS
from kddoctor.errors import UsageError

FIRST_PORT, PORTS = 8501, 100
#: Seconds to wait for the server before a browser is opened on it.
PATIENCE = 20.0
#: The address by page name; the first page has none.
PAGES = {
    "verdict": "",
    "signal": "signal",
    "layers": "layers",
    "examples": "examples",
    "training": "training",
    "compare": "compare",
    "treatment": "treat",
    "checks": "checks",
}


def address(port: int, page: str) -> str:
    """Where a page is found. Raises UsageError for a page that there is none of."""
    if page not in PAGES:
        raise UsageError(f"there is no page {page}; known: {', '.join(PAGES)}")
    return f"http://127.0.0.1:{port}/{PAGES[page]}"


def free_port(wanted: int | None) -> int:
    """The wanted port, or the first free one from 8501 on. Raises UsageError where it is taken."""
    if wanted is not None:
        if not _is_free(wanted):
            raise UsageError(f"port {wanted} is taken; choose another --port, or leave it out")
        return wanted
    found = next((port for port in range(FIRST_PORT, FIRST_PORT + PORTS) if _is_free(port)), None)
    if found is None:
        raise UsageError(f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free; choose one with --port")
    return found


def serve(runs: Sequence[Path], port: int, *, opened: str | None, announce: Callable[[], None]) -> None:
    """Serve the app until it is interrupted. opened: address for a browser. announce: called when all is imported."""
    from streamlit.web import bootstrap

    _import_ahead()
    options = {name.replace(".", "_"): value for name, value in {**OPTIONS, "server.port": port}.items()}
    bootstrap.load_config_options(options)
    if opened is not None:
        threading.Thread(target=_open_when_ready, args=(opened, port), daemon=True).start()
    announce()
    script = Path(__file__).with_name("entry") / "start.py"
    bootstrap.run(str(script), False, [str(run) for run in runs], options)


def _import_ahead() -> None:
    """What the first page would otherwise wait for, two seconds of it."""
    import altair
    import pandas
    import pyarrow.parquet  # noqa: F401

    from kddoctor.app import cards, current, script  # noqa: F401
    from kddoctor.app.charts.scales import layered  # noqa: F401
    from kddoctor.rules.registry import all_rules

    # Registers the chart's and the frame's converters, which are imported at their first use.
    altair.Chart(pandas.DataFrame({"x": [1.0]})).mark_point().encode(x="x:Q").to_dict()
    all_rules()


def _open_when_ready(url: str, port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1):
                break
        except (URLError, OSError):
            time.sleep(0.1)
    webbrowser.open(url)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
