"""Run directories that Weights & Biases keeps on this machine: wandb/offline-run-*/run-*.wandb."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kddoctor.errors import RunError, UsageError
from kddoctor.importers.extras import needs
from kddoctor.importers.files import below
from kddoctor.importers.found import Found, Given
from kddoctor.importers.metric_names import accuracy_as_share, counted, meanings, number, rows_of, summary
from kddoctor.importers.setting_names import in_words, settings_of
from kddoctor.run.metrics import Row
from kddoctor.run.paths import file_inside

LOG = "run-*.wandb"
#: LevelDB's log format, in blocks: https://github.com/google/leveldb/blob/main/doc/log_format.md
MAGIC, FILE_HEADER, BLOCK, RECORD_HEADER = b":W&B", 7, 1 << 15, struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
MOST_BYTES = 1 << 30


def recognises(path: Path) -> bool:
    """A .wandb file, the directory of its run, wandb/ or a directory that holds it."""
    return bool(_logs(path))


def read(path: Path, given: Given) -> Found:
    """History and config of the run that is asked for, or of the last one. Needs the library wandb for its records."""
    root = path.parent if path.is_file() else path
    name, left = _chosen(root, _logs(path), given.run_id)
    config, history = _contents(root, name)
    rows, note = accuracy_as_share(_rows(history))
    settings = settings_of(config, "config")
    return Found(
        kind="Weights & Biases, on this machine",
        folder=(root / name).parent / "files",
        settings=settings,
        metrics=rows,
        said=(f"{name}: {summary(rows)}", *([note] if note else []), f"config: {in_words(settings)}"),
        left=left,
    )


def _logs(path: Path) -> tuple[str, ...]:
    if path.is_file():
        return (path.name,) if path.suffix == ".wandb" else ()
    return below(path, LOG, depth=2) if path.is_dir() else ()


def _chosen(root: Path, names: tuple[str, ...], asked: str | None) -> tuple[str, tuple[str, ...]]:
    def started(name: str) -> str:  # offline-run-20260131_235959-<id>
        return Path(name).parent.name.removeprefix("offline-").removeprefix("run-")

    if asked is not None:
        named = [name for name in names if Path(name).stem.removeprefix("run-") == asked]
        if not named:
            held = ", ".join(Path(name).stem.removeprefix("run-") for name in names[-5:])
            raise UsageError(f"{root}: no run is called {asked}; there are {held}.")
        names = tuple(named)
    others = len(names) - 1
    more = (f"{counted(others, 'other run')} (--run-id takes another than the last)",) if others else ()
    return max(names, key=started), more


def _contents(root: Path, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(config, rows of history) of a log. Raises RunError where it holds no run."""
    path = file_inside(root, name)
    assert path is not None
    if path.stat().st_size > MOST_BYTES:
        raise RunError.plain(f"{name}: is larger than {MOST_BYTES >> 30} GiB; expected the scalars of one run.")
    messages = needs("wandb.proto.wandb_internal_pb2", "runs of Weights & Biases")
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    for data in records(path.read_bytes(), name):
        record = messages.Record()
        try:
            record.ParseFromString(data)
        except Exception as error:  # protobuf's DecodeError, whose module moved between versions
            raise RunError.plain(f"{name}: holds a record that is not W&B's: {error}.") from None
        kind = record.WhichOneof("record_type")
        if kind == "run":
            config |= _values(record.run.config.update)
        elif kind == "config":
            config |= _values(record.config.update)
        elif kind == "history":
            history.append(_values(record.history.item) | {"_step": record.history.step.num})
    config.pop("_wandb", None)
    return config, history


def records(data: bytes, name: str) -> Iterator[bytes]:
    """The records of a log; a last one that a crash cut short is left out. Raises RunError for any other file."""
    if not data.startswith(MAGIC):
        raise RunError.plain(f"{name}: is not a log of Weights & Biases.")
    at, parts = FILE_HEADER, bytearray()
    while at + RECORD_HEADER.size <= len(data):
        if BLOCK - at % BLOCK < RECORD_HEADER.size:  # too little for a header: the block ends in zeros
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = RECORD_HEADER.unpack_from(data, at)
        at += RECORD_HEADER.size
        if kind not in (FULL, FIRST, MIDDLE, LAST) or at + length > len(data):
            return
        parts = bytearray() if kind in (FULL, FIRST) else parts
        parts += data[at : at + length]
        at += length
        if kind in (FULL, LAST):
            yield bytes(parts)


def _values(items: Any) -> dict[str, Any]:
    found = {}
    for item in items:
        try:
            found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        except (ValueError, RecursionError):
            continue
    return found


def _rows(history: list[dict[str, Any]]) -> list[Row]:
    names = meanings({name for row in history for name in row if not name.startswith("_")})
    rows: list[Row] = []
    for row in history:
        values = {name: found for name in row if name in names and (found := number(row[name])) is not None}
        rows += rows_of(values, names, step=int(row["_step"]))
    return rows
