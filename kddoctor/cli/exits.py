"""One table of exit codes for all commands, and the guard that turns every failure into one of them."""

import os
import sys
from collections.abc import Callable

import typer

from kddoctor.errors import KDDoctorError, logged_failure

EXIT = {"healthy": 0, "sick": 1, "inconclusive": 3}
BAD_INPUT, FAILED, INTERRUPTED = 2, 4, 130


def guarded(command: Callable[..., object]) -> int:
    """Run a command; every failure becomes one line and an exit code."""
    try:
        result = command(standalone_mode=False)
        return result if isinstance(result, int) else 0
    except KDDoctorError as error:
        print(f"kddoctor: {error}", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        print("kddoctor: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) went away: nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last resort, so that no user ever sees a traceback
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "exit_code"):
            error.show() if hasattr(error, "show") else None
            return int(error.exit_code)
        return _own_failure(error)


def _own_failure(error: Exception) -> int:
    failure = logged_failure(error)
    print(f"kddoctor: failed: {failure.reason} (a bug; the details are in {failure.log})", file=sys.stderr)  # noqa: T201
    return FAILED
