"""Processes by their number and the time they started: numbers are used again, pairs are not."""

import os
from dataclasses import dataclass

import psutil

#: Seconds by which two readings of one start may differ: clocks tick in hundredths, and are rounded once more in files.
SAME_START = 0.05


@dataclass(frozen=True)
class Process:
    """One process of this machine. started: seconds since 1970."""

    pid: int
    started: float

    @classmethod
    def current(cls) -> "Process":
        """The one that asks."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this number now. Raises psutil.NoSuchProcess where there is none."""
        return cls(pid, psutil.Process(pid).create_time())

    def is_running(self) -> bool:
        """Whether it still runs; one that ended and was not waited for does not."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started) <= SAME_START
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def stop(self, patience: float = 5.0) -> None:
        """End it and all that it started: asked first, forced after ``patience`` seconds."""
        if not self.is_running():
            return
        try:
            found = psutil.Process(self.pid)
            family = [*found.children(recursive=True), found]
        except psutil.Error:  # it ended on its own
            return
        for act in (psutil.Process.terminate, psutil.Process.kill):
            for member in family:
                try:
                    act(member)
                except psutil.Error:
                    continue
            _, family = psutil.wait_procs(family, timeout=patience)
