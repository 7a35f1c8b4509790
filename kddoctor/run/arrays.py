"""Arrays in safetensors files, read a slice at a time."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from kddoctor.errors import RunError
from kddoctor.run.paths import reason

Array = NDArray[Any]
Index = int | slice | EllipsisType

INTEGER_DTYPES = frozenset({"U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})
FLOAT_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
NUMPY_FLOAT_DTYPES = frozenset({"F64", "F32", "F16"})
KNOWN_DTYPES = INTEGER_DTYPES | FLOAT_DTYPES | {"BOOL"}

CHUNK_ROWS = 4096


class ArrayFile:
    """A safetensors file, opened when it is first needed.

    path: where it lies. label: what error messages call it, as in ``predictions/val.safetensors``. Every
    method raises RunError where the file is not whole. Pickles as its path, so that workers open their own.
    """

    def __init__(self, path: Path, label: str) -> None:
        self.path = path
        self.label = label

    def __reduce__(self) -> tuple[type[ArrayFile], tuple[Path, str]]:
        return type(self), (self.path, self.label)

    def __repr__(self) -> str:
        return f"ArrayFile({self.label})"

    @cached_property
    def _handle(self) -> Any:
        return self._open("np")

    @cached_property
    def _torch_handle(self) -> Any:
        # numpy has no bfloat16 and no float8; torch reads them and converts.
        return self._open("pt")

    def _open(self, framework: str) -> Any:
        try:
            return safe_open(self.path, framework=framework)
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise RunError.plain(
                f"{self.label}: is not a whole safetensors file: {reason(error)}. Record or copy it again."
            ) from None

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(self._handle.keys()))

    def keys(self) -> tuple[str, ...]:
        """Names of the arrays, sorted."""
        return self._names

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's own text metadata."""
        return dict(self._handle.metadata() or {})

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def get(self, key: str) -> LazyArray | None:
        """The array, or None where the file does not hold it."""
        return self[key] if key in self._names else None

    def __getitem__(self, key: str) -> LazyArray:
        if key not in self._names:
            held = ", ".join(self._names) or "nothing"
            raise RunError.plain(f"{self.label}: {key} is missing; the file holds {held}.")
        try:
            view = self._handle.get_slice(key)
            shape, dtype = tuple(view.get_shape()), str(view.get_dtype())
        except SafetensorError as error:
            raise RunError.plain(f"{self.label}: {key} cannot be read: {reason(error)}.") from None
        if dtype not in KNOWN_DTYPES:
            raise RunError(self.label, key, f"of dtype {dtype}", "integers or floating point numbers")
        return LazyArray(self, key, shape, dtype)

    def read(self, key: str, index: tuple[slice, ...], dtype: str) -> Array:
        """The values under an index of one slice (step 1, within bounds, not empty) per axis."""
        try:
            if dtype in FLOAT_DTYPES - NUMPY_FLOAT_DTYPES:
                view = self._torch_handle.get_slice(key)
                values = (view[index] if index else self._torch_handle.get_tensor(key)).float().numpy()
            else:
                values = self._handle.get_slice(key)[index] if index else self._handle.get_tensor(key)
        except (SafetensorError, OSError, ValueError, TypeError, OverflowError) as error:
            raise RunError.plain(f"{self.label}: {key} cannot be read: {reason(error)}.") from None
        return np.asarray(values)


@dataclass(frozen=True)
class LazyArray:
    """One array of a file. Nothing is read before it is indexed, read or iterated in chunks.

    shape: as seen here. dtype: as stored, such as "F32" or "I64". Values come as float32 (float64 where
    stored so), int64 or bool. squeezed: a last axis of length one is left out. integers: floats are known
    to hold whole numbers, and come as int64.
    """

    file: ArrayFile
    name: str
    stored_shape: tuple[int, ...]
    dtype: str
    squeezed: bool = False
    integers: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored_shape[:-1] if self.squeezed else self.stored_shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=object))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self.name} is a single number")
        return self.shape[0]

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOAT_DTYPES and not self.integers

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Array:
        """Rows, or a block: integers and slices, as numpy has them, one per axis from the first."""
        stored, after = _two_step_index(index if isinstance(index, tuple) else (index,), self.shape)
        values = self._read(stored)
        return np.asarray(values[after])

    def read(self) -> Array:
        """The whole array."""
        return self._read(tuple(slice(0, length) for length in self.shape))

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Array]:
        """The array in order, at most ``rows`` rows at a time."""
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def _read(self, index: tuple[slice, ...]) -> Array:
        shape = tuple(part.stop - part.start for part in index)
        if 0 in shape:
            values = np.empty(shape, _numpy_dtype(self.dtype))
        else:
            stored = (*index, slice(0, 1)) if self.squeezed else index
            values = self.file.read(self.name, stored, self.dtype).reshape(shape)
        return values.astype(np.int64 if self.integers else _numpy_dtype(self.dtype), copy=False)


def _numpy_dtype(dtype: str) -> type[np.generic]:
    if dtype in INTEGER_DTYPES:
        return np.int64
    if dtype == "BOOL":
        return np.bool_
    return np.float64 if dtype == "F64" else np.float32


def _two_step_index(
    index: tuple[Index, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[int | slice, ...]]:
    """Split an index into blocks to read from the file and what numpy still has to do to them.

    The file format reads contiguous, non-negative slices only; steps and dropped axes are left to numpy.
    """
    if Ellipsis in index:
        at = index.index(Ellipsis)
        fill = (slice(None),) * (len(shape) - len(index) + 1)
        index = index[:at] + fill + index[at + 1 :]
    if len(index) > len(shape):
        raise IndexError(f"{len(index)} indices for an array of {len(shape)} axes")
    blocks: list[slice] = []
    after: list[int | slice] = []
    for part, length in zip((*index, *(slice(None),) * (len(shape) - len(index))), shape, strict=True):
        if isinstance(part, slice):
            chosen = range(*part.indices(length))
            low, high = (min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1) if chosen else (0, 0)
            blocks.append(slice(low, high))
            after.append(slice(None, None, chosen.step))
        else:
            row = operator.index(part)  # type: ignore[arg-type]  # an Ellipsis has been replaced above
            if not -length <= row < length:
                raise IndexError(f"row {row} of an axis of length {length}")
            blocks.append(slice(row % length, row % length + 1))
            after.append(0)
    return tuple(blocks), tuple(after)


def first_nonfinite(array: LazyArray, rows: int = CHUNK_ROWS, largest: float = math.inf) -> tuple[int, int]:
    """How many elements are NaN, infinite or beyond ±largest, and the first row with one (-1 where there is none)."""
    count, first, start = 0, -1, 0
    if not array.is_float:
        return count, first
    for chunk in array.chunks(rows):
        bad = ~(np.isfinite(chunk) & (np.abs(chunk) <= largest))
        found = int(np.count_nonzero(bad))
        if found and first < 0:
            first = start + int(np.argmax(bad.reshape(len(chunk), -1).any(axis=1)))
        count += found
        start += len(chunk)
    return count, first
