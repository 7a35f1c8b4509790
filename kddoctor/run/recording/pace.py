"""When the record is written in between, so that a process which is killed leaves one."""

from __future__ import annotations

import time
from collections.abc import Callable

#: A checkpoint waits for this many times what the last one took: half a per cent of the time at most.
REST = 200


class Pace:
    """seconds: the shortest time between two checkpoints; None for no checkpoint at all. clock: of the loop."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._next = clock() + (seconds or 0.0)
        self.taken = 0

    def due(self) -> bool:
        return self._seconds is not None and self._clock() >= self._next

    def took(self, seconds: float) -> None:
        """A checkpoint has just been written, in this time."""
        self.taken += 1
        self._next = self._clock() + max(self._seconds or 0.0, REST * seconds)
