"""Writing a run directory: all of it, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors.numpy import save as save_arrays

from kddoctor.errors import UsageError
from kddoctor.run.arrays import Array
from kddoctor.run.directory import CHECKPOINTS, SPLITS, STEPS_FILE
from kddoctor.run.manifest import MANIFEST_FILE, Manifest, manifest_from, manifest_to_yaml
from kddoctor.run.metrics import METRICS_FILE
from kddoctor.run.observations import OBSERVATIONS_FILE, Observations, observations_from
from kddoctor.run.paths import reason

Arrays = Mapping[str, Array]
# Files of the run itself; code files may lie anywhere else in the directory.
RESERVED = frozenset(
    {
        MANIFEST_FILE,
        STEPS_FILE,
        METRICS_FILE,
        OBSERVATIONS_FILE,
        "predictions",
        "features",
        "inputs",
        "fingerprints",
        "snapshots",
        "checkpoints",
    }
)


def write_run(
    path: str | Path,
    manifest: Manifest | Mapping[str, Any],
    *,
    predictions: Mapping[str, Arrays],
    steps: Arrays | None = None,
    steps_metadata: Mapping[str, str] | None = None,
    metrics: Iterable[Mapping[str, object]] = (),
    observations: Observations | Mapping[str, object] | None = None,
    features: Mapping[str, Arrays] | None = None,
    inputs: Mapping[str, Arrays] | None = None,
    fingerprints: Mapping[str, Arrays | Array] | None = None,
    snapshots: Mapping[str, Arrays] | None = None,
    checkpoints: Mapping[str, Mapping[str, Any]] | None = None,
    code_files: Mapping[str, str] | None = None,
    check: Callable[[Path], object] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a run directory; it appears under its name only when it is whole. Returns its path.

    predictions, features, inputs, fingerprints and snapshots: arrays by name, by split. checkpoints: state dicts by
    "teacher" and "student", of arrays or tensors. code_files: texts by relative name. check: called on the finished
    directory before it appears; what it raises leaves nothing behind. overwrite: replace an existing run.

    Raises UsageError where the path holds something already (with overwrite: something other than a run),
    where a name leaves the directory, or where the disk refuses; RunError for a wrong manifest. Contents
    are not checked against the manifest: :func:`kddoctor.run.load` does that.
    """
    checked = manifest if isinstance(manifest, Manifest) else manifest_from(dict(manifest))
    texts = {MANIFEST_FILE: manifest_to_yaml(checked), **_code(code_files or {})}
    if observations is not None:
        texts[OBSERVATIONS_FILE] = _observations_text(observations)
    rows = [json.dumps(_plain(dict(row)), sort_keys=True) for row in metrics]
    if rows:
        texts[METRICS_FILE] = "\n".join(rows) + "\n"
    with appearing_whole(Path(path), overwrite) as directory:
        for name, text in texts.items():
            _write(directory / name, text.encode())
        if steps:
            _write(directory / STEPS_FILE, _serialized(steps, steps_metadata))
        by_split = {"predictions": predictions, "features": features, "inputs": inputs, "snapshots": snapshots}
        for folder, parts in by_split.items():
            for split, arrays in (parts or {}).items():
                _write(directory / folder / _split_file(split), _serialized(arrays))
        _write_fingerprints(directory, fingerprints or {})
        for model, state in (checkpoints or {}).items():
            if model not in CHECKPOINTS:
                raise UsageError(f"{model} is not a model of a run; known: {', '.join(CHECKPOINTS)}.")
            _write(directory / "checkpoints" / f"{model}.safetensors", _serialized(state))
        if check is not None:
            check(directory)
    return Path(path)


def _write_fingerprints(directory: Path, fingerprints: Mapping[str, Arrays | Array]) -> None:
    for split, hashes in fingerprints.items():
        arrays = hashes if isinstance(hashes, Mapping) else {"fingerprint": hashes}
        _write(directory / "fingerprints" / _split_file(split), _serialized(arrays))


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises UsageError where a run could not be written at the path: it holds something worth keeping."""
    try:
        if not path.exists():
            return
        if not path.is_dir():
            raise UsageError(f"{path}: is a file; give the name of a new directory.")
        if not any(path.iterdir()):
            return
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be used: {reason(error)}.") from None
    if not overwrite:
        raise UsageError(f"{path}: is not empty; give another directory, or ask to overwrite it.")
    if not (path / MANIFEST_FILE).exists():
        raise UsageError(f"{path}: is not a run directory (no {MANIFEST_FILE}), so it is not overwritten.")


@contextmanager
def appearing_whole(path: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden directory beside the path that takes its place at the end, or is removed on any error."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link at the path is to be replaced, not followed
    refuse_existing(path, overwrite)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for folder in sorted({temporary, *(entry.parent for entry in temporary.rglob("*"))}):
            _fsync_directory(folder)
        _move_into_place(temporary, path, overwrite)
        _fsync_directory(path.parent)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {reason(error)}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(new: Path, path: Path, overwrite: bool) -> None:
    refuse_existing(path, overwrite)  # again: training may have taken days
    if not path.exists():
        new.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.rename(old / "run")
    try:
        new.rename(path)
    except OSError:
        (old / "run").rename(path)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fsync_directory(path: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _serialized(arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    notes = dict(metadata) if metadata else None
    if any(hasattr(value, "detach") for value in arrays.values()):
        return _serialized_tensors(arrays, notes)
    # safetensors writes the memory as it lies, so that a transposed view would come back scrambled.
    plain = {name: np.array(value, order="C") for name, value in arrays.items()}
    for name, value in plain.items():
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise UsageError(f"{name} has dtype {value.dtype}; expected numbers of at most 64 bits.")
        plain[name] = value.astype(value.dtype.newbyteorder("="), copy=False)
    return bytes(save_arrays(plain, notes))


def _serialized_tensors(tensors: Mapping[str, Any], notes: dict[str, str] | None) -> bytes:
    import torch
    from safetensors.torch import save

    # Cloned, since models tie weights and safetensors refuses tensors that share memory.
    plain = {
        name: torch.as_tensor(value).detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    return bytes(save(plain, notes))


def _observations_text(observations: Observations | Mapping[str, object]) -> str:
    if not isinstance(observations, Observations):
        observations = observations_from(dict(observations))
    # Keys that nobody observed stay out of the file; a key of the user's own may well be null.
    values = {**observations.model_dump(exclude_none=True), **(observations.model_extra or {})}
    return json.dumps(_plain(values), indent=2, sort_keys=True) + "\n"


def _plain(value: object) -> Any:
    """Numpy and torch scalars inside mappings and sequences as Python's own."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) in ((), (1,)):
        return _plain(item())
    raise UsageError(f"{type(value).__name__} cannot be written as JSON; give numbers, text or None.")


def _split_file(split: str) -> str:
    if split not in SPLITS:
        raise UsageError(f"{split} is not a split; known: {', '.join(SPLITS)}.")
    return f"{split}.safetensors"


def _code(files: Mapping[str, str]) -> dict[str, str]:
    for name in files:
        parts = PurePosixPath(name.replace("\\", "/"))
        outside = parts.is_absolute() or ".." in parts.parts or not parts.parts or ":" in parts.parts[0]
        if outside or parts.parts[0] in RESERVED:
            raise UsageError(f"code file {name!r}: expected a relative name that no file of the run has.")
    return dict(files)
