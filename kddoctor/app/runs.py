"""The runs that may be looked at: those of the command line, and what treatments made of them. Never a path of the URL."""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kddoctor.run.manifest import MANIFEST_FILE

RESULT = "treatment.json"


@dataclass(frozen=True)
class OpenRun:
    """One run directory. id: short, and safe in a URL. treated_from: the id of the run that it is a treatment of."""

    id: str
    path: Path
    treated_from: str | None = None


def open_runs(arguments: list[str] | None = None) -> Mapping[str, OpenRun]:
    """By id, in the order of the command line, each followed by its finished treatments.

    arguments: paths, those after ``--`` of the script where left out.
    """
    given = [Path(text) for text in (sys.argv[1:] if arguments is None else arguments)]
    found: dict[str, OpenRun] = {}
    known = {path.resolve() for path in given}
    for path in given:
        run = _added(found, path, None)
        for treated in treated_runs(path):
            if treated.resolve() not in known:
                known.add(treated.resolve())
                _added(found, treated, run.id)
    return found


def treated_runs(path: Path) -> Iterator[Path]:
    """The finished treatments beside a run, as ``kddoctor treat`` and the app name them, in the order of their names."""
    for entry in sorted(path.parent.glob(f"{_literal(path.name)}-treated*")):
        if (entry / RESULT).is_file() and (entry / MANIFEST_FILE).is_file():
            yield entry


def _added(found: dict[str, OpenRun], path: Path, treated_from: str | None) -> OpenRun:
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-") or "run"
    name, number = base, 2
    while name in found:
        name, number = f"{base}-{number}", number + 1
    found[name] = OpenRun(name, path, treated_from)
    return found[name]


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
