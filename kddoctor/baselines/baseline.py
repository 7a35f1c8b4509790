"""A baseline: good runs of one recipe, as a small file that people review."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kddoctor.baselines.packing import pack, unpack
from kddoctor.baselines.record import Identity, Record
from kddoctor.errors import UsageError
from kddoctor.run.manifest_errors import manifest_error

FORMAT = 1
MAX_BYTES = 256 << 20

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Saved(_Part):
    """When, why and with which figures (mean over the runs) a baseline was saved."""

    saved: date
    reason: Annotated[str, Field(min_length=1)]
    figures: dict[str, Finite]


class _Identity(_Part):
    task: str
    metric: str
    split: str
    rows: Annotated[int, Field(ge=1)]
    labels: str
    ids: str
    contents: str


class _Rows(_Part):
    """length: examples, or queries. runs: packed values of each run."""

    length: Annotated[int, Field(ge=1)]
    runs: list[str]


class _File(_Part):
    format: Literal[1]
    saved: date
    reason: Annotated[str, Field(min_length=1)]
    expires: date | None
    runs: Annotated[list[str], Field(min_length=1)]
    identity: _Identity
    figures: dict[str, list[Finite]]
    measures: dict[str, list[Finite]]
    history: list[Saved]
    values: dict[str, _Rows]


@dataclass(frozen=True)
class Baseline:
    """runs: names of m runs. figures: [m] of each run, and values: [m, n] of their examples, by figure. measures: [m].

    expires: the last day on which it may be compared with. history: what stood in the file before, oldest first.
    """

    runs: tuple[str, ...]
    identity: Identity
    figures: dict[str, NDArray[np.float64]]
    values: dict[str, NDArray[np.float64]]
    measures: dict[str, NDArray[np.float64]]
    reason: str
    saved: date
    expires: date | None = None
    history: tuple[Saved, ...] = ()

    def to_json(self) -> str:
        """What people read first, the packed values last; the same bytes for the same baseline."""
        head = {
            "format": FORMAT,
            "saved": self.saved.isoformat(),
            "reason": self.reason,
            "expires": None if self.expires is None else self.expires.isoformat(),
            "runs": list(self.runs),
            "identity": asdict(self.identity),
            "figures": {name: _plain(values) for name, values in self.figures.items()},
            "measures": {name: _plain(values) for name, values in self.measures.items()},
            "history": [entry.model_dump(mode="json") for entry in self.history],
            "values": {
                name: {"length": values.shape[1], "runs": [pack(run) for run in values]}
                for name, values in self.values.items()
            },
        }
        return json.dumps(head, indent=1, ensure_ascii=False) + "\n"


def baseline_of(
    records: Sequence[Record],
    *,
    reason: str,
    saved: date,
    expires: date | None = None,
    history: tuple[Saved, ...] = (),
) -> Baseline:
    """From runs of one recipe on the same rows; figures that not all of them have are left out."""
    first = records[0]
    shared = [name for name in first.figures if all(name in record.figures for record in records)]
    measured = [name for name in first.measures if all(name in record.measures for record in records)]
    return Baseline(
        runs=tuple(record.name for record in records),
        identity=first.identity,
        figures={name: np.array([record.figures[name].value for record in records]) for name in shared},
        values={name: np.stack([record.figures[name].values for record in records]) for name in shared},
        measures={name: np.array([record.measures[name] for record in records]) for name in measured},
        reason=reason,
        saved=saved,
        expires=expires,
        history=history,
    )


def read_baseline(path: Path) -> Baseline:
    """Raises UsageError, in one line that names file and key, for anything that is no baseline."""
    read = _parsed(path)
    for name, figures in [*read.figures.items(), *read.measures.items()]:
        if len(figures) != len(read.runs):
            raise UsageError(f"{path}: {name} has {len(figures)} numbers; expected one for each of the runs")
    if set(read.values) != set(read.figures):
        raise UsageError(f"{path}: figures and values are not of the same names")
    return Baseline(
        runs=tuple(read.runs),
        identity=Identity(**read.identity.model_dump()),
        figures={name: np.array(values) for name, values in read.figures.items()},
        values={name: _unpacked(path, name, rows, len(read.runs)) for name, rows in read.values.items()},
        measures={name: np.array(values) for name, values in read.measures.items()},
        reason=read.reason,
        saved=read.saved,
        expires=read.expires,
        history=tuple(read.history),
    )


def _parsed(path: Path) -> _File:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: is larger than {MAX_BYTES >> 20} MiB; this is no baseline")
        data: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is no baseline: {error}") from None
    if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
        raise UsageError(f"{path}: format is {data['format']}; a newer kddoctor wrote it, upgrade")
    try:
        return _File.model_validate(data)
    except ValidationError as error:
        raise UsageError(str(manifest_error(error, str(path), _File))) from None


def _unpacked(path: Path, name: str, rows: _Rows, runs: int) -> NDArray[np.float64]:
    if len(rows.runs) != runs:
        raise UsageError(f"{path}: values.{name} holds {len(rows.runs)} runs; expected {runs}")
    try:
        return np.stack([unpack(text, rows.length) for text in rows.runs])
    except ValueError as error:
        raise UsageError(f"{path}: values.{name} {error}") from None


def _plain(values: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in values]
