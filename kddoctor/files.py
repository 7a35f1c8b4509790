"""Files that are never seen half-written."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kddoctor.errors import UsageError


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half-written."""
    write_all({path: text})


def write_all(texts: Mapping[Path, str]) -> None:
    """Write files that are never seen half-written: all of them, or none. Raises UsageError where one cannot be."""
    partials: dict[Path, Path] = {}
    path = Path()
    try:
        for path, text in texts.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            partials[path] = path.with_name(f".{path.name}.partial")
            partials[path].write_text(text, encoding="utf-8")
        for path, partial in partials.items():
            partial.replace(path)
    except OSError as error:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink()
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
