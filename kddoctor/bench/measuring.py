"""Measurements of a record, kept until the code that measures changes; a change of rules needs none of it again."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import joblib
import numpy as np

import kddoctor
from kddoctor.bench.case import Case
from kddoctor.bench.recording import Cache
from kddoctor.bench.tier import Tier, thinned
from kddoctor.engine.measuring import measure
from kddoctor.engine.measuring.splits import Measured
from kddoctor.errors import RunError
from kddoctor.run import load

#: What measurements depend on, below the package.
SOURCES = ("run", "probes", "engine/measuring", "engine/outcome.py", "engine/reading.py", "engine/types.py")


@dataclass(frozen=True)
class Measurement:
    """measured: by type, None where the record was refused, with the reason. seconds: reading and measuring."""

    measured: Measured | None
    refused: str | None
    seconds: float


def measure_case(case: Case, tier: Tier, cache: Cache) -> Measurement:
    """Measure a recorded case, unless that was done by the same code."""
    path = cache.directory / "measured" / f"{case.key}-{tier.name.lower()}-{_code()}.joblib"
    if path.is_file():
        known = joblib.load(path)
        assert isinstance(known, Measurement)
        return known
    started = time.perf_counter()
    measured, refused = None, None
    try:
        with thinned(cache.run(case), tier) as run, np.errstate(all="ignore"):
            measured = measure(load(run))
    except RunError as error:
        refused = str(error)
    found = Measurement(measured, refused, time.perf_counter() - started)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    joblib.dump(found, partial)
    partial.replace(path)
    return found


@cache
def _code() -> str:
    root = Path(kddoctor.__file__).parent
    digest = hashlib.blake2b(digest_size=6)
    for path in _files(root):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(root: Path) -> Iterable[Path]:
    for name in SOURCES:
        path = root / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]
