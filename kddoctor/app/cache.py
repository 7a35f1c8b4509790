"""Where the app keeps what it worked out: in the user's cache, never in a run directory.

``KDDOCTOR_CACHE`` says where; otherwise it is the usual place of the operating system (``~/.cache/kddoctor`` on Linux).
Everything there can be deleted at any time.
"""

import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import platformdirs

import kddoctor
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.run.metrics import METRICS_FILE
from kddoctor.run.observations import OBSERVATIONS_FILE

#: What a diagnosis or a picture may depend on. Compiled code that an import leaves in a run is not among it.
RECORDS = (MANIFEST_FILE, METRICS_FILE, OBSERVATIONS_FILE, "*.safetensors", "*/*.safetensors", "treatment.json")


def cache_directory() -> Path:
    """The directory, which need not exist yet."""
    chosen = os.environ.get("KDDOCTOR_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("kddoctor", appauthor=False)


def signature(path: Path) -> str:
    """What tells one state of a run directory from another: its files' names, sizes and times, and kddoctor's own.

    Contents are not read: a record of 200 MB is looked at on every click.
    """
    digest = hashlib.sha256(f"{path.resolve()}\n{_own_code()}\n".encode())
    for file in sorted({file for pattern in RECORDS for file in path.glob(pattern)}):
        digest.update(_state(file, path).encode())
    return digest.hexdigest()[:20]


def place(*paths: Path) -> Path:
    """The directory of what was worked out from these runs, all of their states together."""
    names = "\n".join(str(path.resolve()) for path in paths)
    return cache_directory() / "app" / hashlib.sha256(names.encode()).hexdigest()[:20]


@cache
def _own_code() -> str:
    """The installed kddoctor: another version may diagnose otherwise."""
    digest = hashlib.sha256(kddoctor.__version__.encode())
    for file in _sources(Path(kddoctor.__file__).parent):
        digest.update(_state(file, file.parent).encode())
    return digest.hexdigest()


def _sources(package: Path) -> Iterator[Path]:
    yield from sorted(package.rglob("*.py"))


def _state(file: Path, root: Path) -> str:
    try:
        found = file.stat()
    except OSError:  # removed since it was listed
        return ""
    return f"{file.relative_to(root)}\t{found.st_size}\t{found.st_mtime_ns}\n"
