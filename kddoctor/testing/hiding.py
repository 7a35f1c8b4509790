"""Failures that end at the user's own line."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from kddoctor.errors import KDDoctorError

Given = ParamSpec("Given")


def ending_at_the_caller(assertion: Callable[Given, None]) -> Callable[Given, None]:
    """The assertion, whose failures and complaints about what it was given show none of its own frames."""

    @wraps(assertion)
    def hidden(*arguments: Given.args, **options: Given.kwargs) -> None:
        __tracebackhide__ = True
        try:
            assertion(*arguments, **options)
        except (AssertionError, KDDoctorError) as error:
            raise error.with_traceback(None) from None

    return hidden
