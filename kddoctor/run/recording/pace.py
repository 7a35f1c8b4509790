"""When the record is written in between, so that a process which is killed leaves one."""

from __future__ import annotations

import time

#: A checkpoint waits for this many times what the last one took: one per cent of the time at most.
REST = 100


class Pace:
    """seconds: the shortest time between two checkpoints; None for no checkpoint at all."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + (seconds or 0.0)
        self.taken = 0

    def due(self) -> bool:
        return self._seconds is not None and time.monotonic() >= self._next

    def took(self, seconds: float) -> None:
        """A checkpoint has just been written, in this time."""
        self.taken += 1
        self._next = time.monotonic() + max(self._seconds or 0.0, REST * seconds)
