"""The end of the process, which a recorder that nobody finished has to see coming."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

STOPPED_BY_SIGTERM = 128 + signal.SIGTERM


class Lifetime:
    """Calls ``at_exit`` when the process ends, and makes SIGTERM an exit like any other, until it is closed.

    A handler of the user's for SIGTERM is left alone. Processes that are forked from this one do as they did before.
    """

    def __init__(self, at_exit: Callable[[], None]) -> None:
        self._at_exit = at_exit
        self._process = os.getpid()
        atexit.register(self._exit)
        self._handles_signal = False
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._stop)
            self._handles_signal = True

    def belongs_to_block(self) -> None:
        """A with-block ends the recording from here on: leaving the process does not."""
        atexit.unregister(self._exit)

    def close(self) -> None:
        atexit.unregister(self._exit)
        if self._handles_signal and threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGTERM) == self._stop:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._handles_signal = False

    def _exit(self) -> None:
        if os.getpid() == self._process:
            self._at_exit()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        raise SystemExit(STOPPED_BY_SIGTERM)
