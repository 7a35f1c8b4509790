"""One table of exit codes for all commands, and the guard that turns every failure into one of them."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from kddoctor.errors import KDDoctorError

EXIT = {"healthy": 0, "sick": 1, "inconclusive": 3}
BAD_INPUT, FAILED, INTERRUPTED = 2, 4, 130


@dataclass(frozen=True)
class Failures:
    """Exit codes of a command that could not do its work."""

    bad_input: int = BAD_INPUT
    failed: int = FAILED
    interrupted: int = INTERRUPTED


#: pytest's own, for the commands that stand in for it.
PYTEST = Failures(bad_input=4, failed=3, interrupted=2)
CONTRACT = Failures()


def guarded(command: Callable[[], object], codes: Failures = CONTRACT) -> int:
    """Run a command; every failure becomes one line and an exit code."""
    try:
        with reader_may_leave():
            result = command()
            return result if isinstance(result, int) else 0
        return 0
    except KDDoctorError as error:
        print(f"kddoctor: {error}", file=sys.stderr)  # noqa: T201
        return codes.bad_input
    except (KeyboardInterrupt, typer.Abort):
        print("kddoctor: interrupted", file=sys.stderr)  # noqa: T201
        return codes.interrupted
    except Exception as error:  # the last resort, so that no user ever sees a traceback
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "exit_code"):
            error.show() if hasattr(error, "show") else None
            return int(error.exit_code)
        return _own_failure(error, codes.failed)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Where the reader of stdout (head, less) goes away, there is nothing to say, and nobody to say it to."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _own_failure(error: Exception, code: int) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="kddoctor-", suffix=".log", delete=False) as log:
        log.write("".join(traceback.format_exception(error)))
    reason = " ".join(str(error).split()) or type(error).__name__
    print(f"kddoctor: failed: {reason} (a bug; the details are in {log.name})", file=sys.stderr)  # noqa: T201
    return code
