"""What a manifest may say about the run's own training script."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

SETTINGS_SUFFIXES = (".yaml", ".yml", ".json")


def script_line(entry: str) -> str:
    """A command line that begins with a Python file inside ``code.path``. Raises ValueError for any other."""
    try:
        words = shlex.split(entry)
    except ValueError as error:
        raise ValueError(f"a command line ({error})") from None
    if not words or not words[0].endswith(".py") or not _stays_inside(words[0]):
        raise ValueError("a Python file inside code.path and its arguments, as in train.py --epochs 30")
    return entry


def settings_file(name: str) -> str:
    """The name of a settings file inside ``code.path``. Raises ValueError for any other."""
    if not name.endswith(SETTINGS_SUFFIXES) or not _stays_inside(name):
        raise ValueError(f"a file inside code.path that ends in {', '.join(SETTINGS_SUFFIXES)}")
    return name


def is_argument(place: str) -> bool:
    """Whether a value of ``code.keys`` is an argument of the script, and no key of its settings file."""
    return place.startswith("-") or place.endswith("=")


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]
