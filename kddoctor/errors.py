"""What kddoctor raises when the fault lies in what it was given.

Every message is one line: the command line prints it as it is, without a traceback.
"""

from __future__ import annotations

import logging
import os
from typing import NamedTuple, Self

#: Set where a mistake of kddoctor's own has to stop it: by the tests, and by the benchmark.
STRICT = "KDDOCTOR_STRICT"
MAX_VALUE_CHARACTERS = 120


class KDDoctorError(Exception):
    """Base of every error that a user can mend. ``str()`` is one line."""


class UsageError(KDDoctorError):
    """kddoctor was asked for something it cannot do, such as writing over somebody's files."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class RunError(KDDoctorError):
    """A run directory, or a file in it, cannot be read as the contract says.

    file: name relative to the run directory. key: the array or setting in it. found, expected: text for
    people; values are best passed through :func:`shown`. advice: what to do, shown in brackets.
    """

    def __init__(self, file: str, key: str, found: str, expected: str, advice: str | None = None) -> None:
        self.file: str | None = file
        self.key: str | None = key
        self.found: str | None = found
        self.expected: str | None = expected
        self.advice = advice
        ending = f" ({advice})" if advice else ""
        super().__init__(one_line(f"{file}: {key} is {found}; expected {expected}{ending}"))

    @classmethod
    def plain(cls, message: str) -> Self:
        """An error whose sentence does not fit "key is found; expected expected"."""
        error = cls.__new__(cls)
        error.file = error.key = error.found = error.expected = error.advice = None
        Exception.__init__(error, one_line(message))
        return error

    def __reduce__(self) -> tuple[object, tuple[type[RunError], tuple[object, ...], dict[str, object]]]:
        # The default would call __init__ with the finished message; workers send errors home by pickle.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(cls: type[RunError], args: tuple[object, ...], state: dict[str, object]) -> RunError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Failure(NamedTuple):
    """A bug of kddoctor's own. reason: one line. log: the file that holds the traceback."""

    reason: str
    log: str


def logged_failure(error: Exception) -> Failure:
    """Put the traceback into a file of its own, so that no user has to see it."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="kddoctor-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write("".join(traceback.format_exception(error)))
    return Failure(one_line(str(error)) or type(error).__name__, log.name)


def survived(what: str, error: Exception) -> str:
    """One line on a part of kddoctor that raised an error, where everything else goes on; the log gets it, too.

    Raises the error where it is about what kddoctor was given, and where nothing may be survived (``STRICT``).
    """
    if isinstance(error, KDDoctorError) or os.environ.get(STRICT):
        raise error
    failure = logged_failure(error)
    reason = f"{what} failed: {type(error).__name__}: {failure.reason} (a bug; the details are in {failure.log})"
    logging.getLogger("kddoctor").warning(f"warning: {reason}")
    return reason


def one_line(text: str) -> str:
    """The text with line breaks and other control characters replaced by spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shown(value: object) -> str:
    """A value as an error message shows it: its repr, cut where it would fill the screen."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits, structures without end
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[:MAX_VALUE_CHARACTERS] + "…"
