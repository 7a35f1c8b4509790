"""Arrays of a file, by name: .npy, .npz, .safetensors, .pt, .parquet and .csv. Nothing is unpickled.

Sizes are checked from headers before anything is allocated, so that a small file cannot ask for all memory.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kddoctor.errors import RunError, UsageError
from kddoctor.importers.extras import needs
from kddoctor.importers.files import first_lines
from kddoctor.run.arrays import Array, ArrayFile
from kddoctor.run.paths import reason

#: Bytes that the arrays of one file may take in memory.
MOST_BYTES = 16 << 30
#: What reading a broken file of any of these formats raises.
_BROKEN = (OSError, ValueError, TypeError, KeyError, EOFError, OverflowError, MemoryError, RuntimeError, SyntaxError)

_COLUMN = re.compile(r"(?P<name>.*?[^\d_.\[])[_.\[]?(?P<number>\d+)\]?$")


def read_arrays(path: Path) -> dict[str, Array]:
    """The numeric arrays of a file by name; that of a .npy, or of a .pt with one tensor, is named by the file's stem.

    Raises UsageError for a format that is not read, RunError where the file is not whole or asks for too much.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: is not a file of arrays that is read; expected {', '.join(READERS)}.")
    try:
        arrays = reader(path)
    except zipfile.BadZipFile as error:
        raise RunError.plain(f"{path}: is not a whole {path.suffix} file: {error}.") from None
    except _BROKEN as error:
        raise RunError.plain(f"{path}: cannot be read as {path.suffix}: {_first_line(error)}.") from None
    return {name: array for name, array in arrays.items() if array.dtype.kind in "biuf"}


def _npy(path: Path) -> dict[str, Array]:
    # Mapped and not read: numpy refuses a header that asks for more than the file holds, and Python objects.
    return {path.stem: np.lib.format.open_memmap(path, mode="r")}


def _npz(path: Path) -> dict[str, Array]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        _refuse_more(sum(member.file_size for member in archive.infolist()), path)
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _npy_member(stream, member)
    return arrays


def _npy_member(stream: Any, member: zipfile.ZipInfo) -> Array:
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    count = math.prod(shape)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects, which are not unpickled")
    if count * dtype.itemsize > member.file_size:
        raise ValueError(f"{member.filename} claims {count * dtype.itemsize:,} bytes and holds fewer")
    values = np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
    return values.reshape(shape, order="F" if fortran else "C")


def _safetensors(path: Path) -> dict[str, Array]:
    file = ArrayFile(path, path.name)
    return {name: file[name].read() for name in file}


def _torch(path: Path) -> dict[str, Array]:
    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            _refuse_more(sum(member.file_size for member in archive.infolist()), path)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling errors of its own, and whatever a broken archive raises
        raise ValueError(f"{_first_line(error)} (only tensors are loaded; save plain tensors)") from None
    named = held if isinstance(held, Mapping) else {path.stem: held}
    arrays = {}
    for name, value in _flat(named):
        if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_meta:
            _refuse_more(value.numel() * value.element_size(), path)  # strides let one number stand for many
            plain = value.detach().resolve_conj().resolve_neg()
            arrays[name] = (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy()
    return arrays


def _flat(named: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values; those of a dict in the dict, such as one for each split, as val/labels."""
    for name, value in named.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", each) for inner, each in value.items())
        else:
            yield str(name), value


def _parquet(path: Path) -> dict[str, Array]:
    parquet = needs("pyarrow.parquet", "Parquet files")
    columns: dict[str, list[Array]] = {}
    elements = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=16_384):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                values = _arrow_values(column)
                if values is None:
                    continue
                elements += values.size
                _refuse_more(8 * elements, path)
                columns.setdefault(name, []).append(values)
    return _grouped((name, np.concatenate(parts)) for name, parts in columns.items())


def _arrow_values(column: Any) -> Array | None:
    """[n] of a column of numbers, [n, C] of one of lists of the same length; None for any other."""
    types = needs("pyarrow.types", "Parquet files")
    kind = column.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _arrow_values(column.flatten())
        width, rest = divmod(0 if inner is None else len(inner), max(1, len(column)))
        lengths = {len(row) for row in column}
        if inner is None or rest or lengths != {width}:
            return None
        return inner.reshape(len(column), width, *inner.shape[1:])
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return None
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _csv(path: Path) -> dict[str, Array]:
    import pandas as pd

    _refuse_more(path.stat().st_size, path)
    separator, decimal = _writing(path)
    table = pd.read_csv(path, sep=separator, decimal=decimal)
    return _grouped((str(name), table[name].to_numpy()) for name in table)


def _writing(path: Path) -> tuple[str, str]:
    """(what stands between columns, the decimal sign): where that is a comma, semicolons stand between columns."""
    head, _, rows = first_lines(path).partition("\n")
    between = next((sign for sign in ",;\t" if sign in head), ",")
    return between, "," if between == ";" and "," in rows else "."


def _grouped(columns: Iterable[tuple[str, Array]]) -> dict[str, Array]:
    """Columns with numbers at their end, as teacher_logits_0, teacher_logits_1 and so on, become one array [N, C]."""
    arrays: dict[str, Array] = {}
    numbered: dict[str, dict[int, Array]] = {}
    for name, values in columns:
        match = _COLUMN.match(name)
        if match and values.ndim == 1:
            numbered.setdefault(match["name"], {})[int(match["number"])] = values
        arrays[name] = values
    for name, parts in numbered.items():
        first = min(parts)
        if len(parts) > 1 and first in (0, 1) and sorted(parts) == list(range(first, first + len(parts))):
            arrays[name] = np.stack([parts[number] for number in sorted(parts)], axis=1)
    return arrays


def _refuse_more(size: int, path: Path) -> None:
    if size > MOST_BYTES:
        raise RunError.plain(f"{path}: holds more than {MOST_BYTES >> 30} GiB of arrays; store the rows of one split.")


def _first_line(error: BaseException) -> str:
    return reason(error).strip().splitlines()[0].rstrip(".")[:200] if reason(error).strip() else type(error).__name__


READERS: Mapping[str, Callable[[Path], dict[str, Array]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
    ".parquet": _parquet,
    ".csv": _csv,
}
