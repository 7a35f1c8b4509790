"""What goes wrong in the recorder: said once, and kept from the training loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kddoctor.errors import KDDoctorError

CHECK_ARGUMENTS = "Check the arguments given to record() and step(); what can be recorded still is."


class RecorderWarning(UserWarning):
    """The recorder could not record something; the training loop is not affected."""


class Complaints:
    """Each kind of failure is one RecorderWarning, however often it happens."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    @contextmanager
    def harmless(self, what: str, advice: str = CHECK_ARGUMENTS) -> Iterator[None]:
        """Nothing that goes wrong in here may reach the training loop."""
        try:
            yield
        except Exception as error:
            self.say(what, error, advice, stacklevel=5)  # from here over contextlib to the caller of step()

    def about(self, what: str) -> Callable[[Exception], None]:
        return lambda error: self.say(what, error)

    def say(self, what: str, error: Exception, advice: str = CHECK_ARGUMENTS, stacklevel: int = 3) -> None:
        if what in self._said:
            return
        self._said.add(what)
        reason = str(error) if isinstance(error, KDDoctorError) else f"{type(error).__name__}: {error}"
        warnings.warn(
            f"kddoctor could not {what}: {reason.rstrip('.')}. Training is not affected. {advice}",
            RecorderWarning,
            stacklevel=stacklevel,
        )
