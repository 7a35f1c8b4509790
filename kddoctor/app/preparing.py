"""Makes summaries in a process of its own, and says how far it is.

A summary of a large record takes seconds and hundreds of megabytes: neither belongs into a server that answers clicks.
Closing the page or the server does not stop it.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from kddoctor.app.summary import find_summary, summary_path
from kddoctor.errors import KDDoctorError, logged_failure
from kddoctor.treatment.process import Process

#: Called with the step that begins, its number and the number of steps.
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Preparation:
    """How far a summary is. error: one line, where it failed; log: the file with the details of a bug."""

    doing: str
    done: int
    of: int
    process: Process
    error: str | None = None
    log: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether somebody is at it."""
        return self.error is None and self.process.is_running()


def preparation(*runs: Path) -> Preparation | None:
    """How far the summary of the runs as they are now is; None where nobody began it."""
    try:
        data = json.loads(_progress_file(*runs).read_text(encoding="utf-8"))
        return Preparation(**{**data, "process": Process(**data["process"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def start_preparing(*runs: Path) -> None:
    """Begin a summary in the background, unless somebody is at it."""
    known = preparation(*runs)
    if known is not None and known.is_running:
        return
    command = [sys.executable, "-m", "kddoctor.app.preparing", *(str(run) for run in runs)]
    child = subprocess.Popen(
        command,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # Written here too: the child needs a second before it can say anything.
    _report(runs, Preparation("starting", 0, 1, Process.of(child.pid)))


def prepare(*runs: Path) -> None:
    """Make the summary of one run, or of the comparison of two, in this process."""
    from kddoctor.app.summarising import summarise, summarise_pair

    path = summary_path(*runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    me = Process.current()

    def report(doing: str, done: int, of: int) -> None:
        _report(runs, Preparation(doing, done, of, me))

    try:
        with FileLock(path.parent / "lock", timeout=0):
            if find_summary(*runs) is None:
                summarise(runs[0], path, report) if len(runs) == 1 else summarise_pair(runs[0], runs[1], path, report)
    except Timeout:  # another process is at it
        return
    except KDDoctorError as error:
        _report(runs, Preparation("failed", 0, 1, me, error=str(error)))
    except Exception as error:  # shown on the page instead of a traceback that nobody sees
        failure = logged_failure(error)
        _report(runs, Preparation("failed", 0, 1, me, error=failure.reason, log=failure.log))
    else:
        _progress_file(*runs).unlink(missing_ok=True)


def forget_failure(*runs: Path) -> None:
    """So that it is tried again."""
    _progress_file(*runs).unlink(missing_ok=True)


def _progress_file(*runs: Path) -> Path:
    path = summary_path(*runs)
    return path.with_name(f"{path.name}.progress.json")


def _report(runs: tuple[Path, ...], state: Preparation) -> None:
    path = _progress_file(*runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{state.process.pid}")
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps({**vars(state), "process": vars(state.process)}), encoding="utf-8")
        partial.replace(path)


if __name__ == "__main__":
    prepare(*map(Path, sys.argv[1:]))
