"""Finding and reading the files of a source, within bounds and never outside it."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

from kddoctor.errors import RunError
from kddoctor.run.paths import file_inside, reason

#: Entries of a source that are looked at, and folders deep: logs lie near the top, data sets do not.
MOST_ENTRIES, DEEPEST = 20_000, 4
#: Text of logs and metrics; a run that logs every step for a week stays below.
MOST_TEXT = 256 << 20
#: Settings files.
MOST_SETTINGS = 4 << 20


def below(root: Path, pattern: str, depth: int = DEEPEST) -> tuple[str, ...]:
    """Names, relative to root and sorted, of the files below it that match a pattern. Links are not followed."""
    return tuple(sorted(name for name in _names(root, depth) if fnmatch.fnmatchcase(name.rpartition("/")[2], pattern)))


def _names(root: Path, depth: int) -> Iterator[str]:
    seen = 0
    for folder, folders, files in os.walk(root):
        seen += 1
        relative = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if len(relative.parts) < depth)
        for name in files:
            seen += 1
            if seen > MOST_ENTRIES:
                return
            yield (relative / name).as_posix()


def text_of(root: Path, name: str, most: int = MOST_TEXT) -> str:
    """The text of a file of the source; bytes that are not UTF-8 are replaced.

    Raises RunError where it is missing, leaves the source, is larger than ``most`` bytes or cannot be read.
    """
    path = file_inside(root, name)
    if path is None:
        raise RunError.plain(f"{name}: is missing in {root}.")
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise RunError.plain(f"{name}: cannot be read: {reason(error)}.") from None
    if len(data) > most:
        raise RunError.plain(f"{name}: is larger than {most >> 20:,} MiB; expected a log or settings.")
    return data.decode("utf-8-sig", "replace")


def first_lines(path: Path, most: int = 4096) -> str:
    """The start of a file, for recognising it; empty where it cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return stream.read(most).decode("utf-8-sig", "replace")
    except OSError:
        return ""
