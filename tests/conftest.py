"""What holds for all tests: one thread each, and the test-bed's counts at the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import torch

from kddoctor.errors import STRICT

# A mistake of kddoctor's own fails the test in which it happens, also in the processes that tests start.
os.environ[STRICT] = "1"
# A shell that starts the tests in the background has SIGINT ignored, for them and for all that they start; several are
# about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: For the tests of the pytest plugin.
pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    # The tensors are tiny: threads that wait for one another take longer than the work.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Top-1 accuracy and false alarms of the fault test-bed, from whichever worker ran it."""
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for key, value in getattr(report, "user_properties", ())
        if key == "testbed" and report.when == "call"
    ]
    faults = [right for kind, _, right in rows if kind == "fault"]
    alarms = [verdict == "sick" for kind, verdict, _ in rows if kind == "healthy"]
    if rows:
        terminalreporter.write_line(
            f"test-bed: top-1 accuracy {sum(faults)}/{len(faults)}, false alarms {sum(alarms)}/{len(alarms)}"
        )
