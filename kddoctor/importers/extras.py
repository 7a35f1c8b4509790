"""Libraries that only some sources need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kddoctor.errors import UsageError


def needs(module: str, what: str) -> Any:
    """The module. Raises UsageError, naming the extra, where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        library = module.partition(".")[0]
        raise UsageError(f"{what} need {library}: pip install 'kddoctor[importers]'.") from None
