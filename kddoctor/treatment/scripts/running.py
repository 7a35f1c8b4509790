"""A user's script as a process: its output passed on and kept, and nothing of it left when it is stopped."""

import codecs
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from kddoctor.errors import UsageError
from kddoctor.run.paths import reason
from kddoctor.treatment.process import Process

#: Seconds that a script has, after it was asked to end, to save what it has.
PATIENCE = 10.0
#: Bytes of the end of its output that are kept for a failure.
KEPT_BYTES = 64_000
CHUNK = 8192


def run_script(words: Sequence[str], folder: Path, environment: Mapping[str, str], *, quiet: bool) -> tuple[int, bytes]:
    """Run a Python file with this Python in ``folder``, without a shell. Returns its exit status and last output.

    words: the file and its arguments. environment: beside what this process has. Its output goes to stderr, unless
    quiet. Ctrl-C and SIGTERM end it and all that it started before they end this. Raises UsageError where it cannot
    be started.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **_python_path(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: Ctrl-C reaches it through us, and all of it
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{words[0]}: cannot be started: {reason(error)}") from None
    assert process.stdout is not None
    kept = bytearray()
    listener = threading.Thread(target=_pass_on, args=(process.stdout, kept, quiet), daemon=True)
    listener.start()
    asked = signal.SIGTERM
    try:
        with _termination_raises():
            status = process.wait()
    except KeyboardInterrupt:
        asked = signal.SIGINT
        raise
    finally:
        _end(process, asked)
        listener.join(PATIENCE)
    return status, bytes(kept)


def _python_path() -> dict[str, str]:
    """What is relative there means what it means here, not in the script's working directory."""
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))} if path else {}


def _pass_on(stream: IO[bytes], kept: bytearray, quiet: bool) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end within a character
    with stream:
        while chunk := os.read(stream.fileno(), CHUNK):
            kept += chunk
            del kept[:-KEPT_BYTES]
            if not quiet:
                # A terminal that went away is no reason to stop listening: the script would wait for us for ever.
                with suppress(OSError, ValueError):
                    sys.stderr.write(decoder.decode(chunk))
                    sys.stderr.flush()


@contextmanager
def _termination_raises() -> Iterator[None]:
    """SIGTERM as SystemExit, so that the script is ended, too; a handler that there is already is left alone."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(process: "subprocess.Popen[bytes]", asked: signal.Signals) -> None:
    """The script and its group, asked first and then forced; after its own end, only what it left behind."""
    if os.name == "nt":  # no groups there
        if process.poll() is None:
            Process.of(process.pid).stop(PATIENCE)
        return
    try:
        if process.poll() is None:
            _signal(process, asked)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
    finally:  # also where the user cannot wait and presses Ctrl-C again
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
