"""The file and line that a finding points at, as editors, code scanning and annotations want it."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from kddoctor.run.key_position import START, KeyPosition, key_position
from kddoctor.run.manifest import MANIFEST_FILE

#: "kd_run.yaml: distillation.temperature", also inside a longer sentence; of several keys the first.
_KEY = re.compile(rf"{re.escape(MANIFEST_FILE)}: (\w+(?:\.\w+)*)")


@dataclass(frozen=True)
class Place:
    """path: of kd_run.yaml with forward slashes, relative to the working directory where it lies below that, and to
    the run directory where it does not. position: of the key, or the start of the file.
    """

    path: str
    position: KeyPosition

    @property
    def uri(self) -> str:
        """The path as a relative URI."""
        return quote(self.path)


def place_of(where: str | None, run: Path) -> Place:
    """The place that ``finding.where`` names: the line of a key in the run's kd_run.yaml, otherwise its first line."""
    named = _KEY.search(where or "")
    return Place(_relative(run), key_position(run, named[1]) if named else START)


def _relative(run: Path) -> str:
    path, here = run.resolve() / MANIFEST_FILE, Path.cwd()
    # Code scanning takes paths from the root of the checkout, where CI runs; one that leaves it names nothing there.
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else MANIFEST_FILE
