"""Processes that outlive the server: in a session of their own, so that its Ctrl-C does not reach them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kddoctor.treatment.process import Process

#: Kept so that those which ended are waited for, when the next one is started; nothing is asked of them.
_CHILDREN: list[subprocess.Popen[bytes]] = []


def start_detached(arguments: Sequence[str], log: Path | None = None) -> Process:
    """Start ``python -m`` with these arguments. log: what it prints goes there, nowhere where left out."""
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]
    with (Path(os.devnull) if log is None else log).open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    _CHILDREN.append(child)
    return Process.of(child.pid)
