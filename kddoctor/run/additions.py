"""Adding to a run directory that is there already; what is not added to stays as it is, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from kddoctor.errors import RunError, UsageError
from kddoctor.run.arrays import Array
from kddoctor.run.observations import MAX_OBSERVATIONS_BYTES, OBSERVATIONS_FILE, observations_from
from kddoctor.run.paths import file_inside, read_text, reason
from kddoctor.run.writer import appearing_whole


def add_to_run(path: Path, predictions: Mapping[str, Mapping[str, Array]], observations: Mapping[str, object]) -> None:
    """Add arrays to the predictions of recorded splits, by split, and keys to the observations.

    Every file is the old or the new one at any moment: all are written beside their places first, and then renamed,
    the observations last. Arrays and keys of the same name are replaced. Raises RunError for a split that was not
    recorded or a key of the wrong type, UsageError where the disk refuses.
    """
    partials: dict[Path, Path] = {}
    try:
        for split, arrays in predictions.items():
            name = f"predictions/{split}.safetensors"
            target = file_inside(path, name)
            if target is None:
                raise RunError.plain(f"{name}: is missing; predictions are added to splits that were recorded.")
            partials[target] = _beside(target)
            _write_with(target, partials[target], arrays)
        target = file_inside(path, OBSERVATIONS_FILE) or path.resolve() / OBSERVATIONS_FILE
        partials[target] = _beside(target)
        partials[target].write_text(_observations_with(target, observations), encoding="utf-8")
        for file, partial in partials.items():
            if file.exists():
                shutil.copymode(file, partial)
            with partial.open("rb+") as stream:
                os.fsync(stream.fileno())
        for file, partial in partials.items():
            partial.replace(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {reason(error)}") from None
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def copy_with(
    path: Path,
    output: Path,
    predictions: Mapping[str, Mapping[str, Array]],
    observations: Mapping[str, object],
) -> None:
    """The run at ``path`` as a new run directory with these additions; it appears when it is whole.

    Raises as ``add_to_run``, and UsageError where ``output`` holds something already.
    """
    with appearing_whole(output, overwrite=False) as directory:
        # Links stay links: what they lead to is read through the run directory, or not at all.
        shutil.copytree(path, directory, symlinks=True, dirs_exist_ok=True)
        add_to_run(directory, predictions, observations)


def _write_with(source: Path, target: Path, arrays: Mapping[str, Array]) -> None:
    """The safetensors file with these arrays added. Through torch, since numpy has no bfloat16."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(source, framework="pt") as held:
        tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 - not a mapping
        metadata = held.metadata()
    added = {name: torch.from_numpy(array).contiguous() for name, array in arrays.items()}
    save_file({**tensors, **added}, target, metadata)


def _observations_with(file: Path, observations: Mapping[str, object]) -> str:
    held = json.loads(read_text(file, OBSERVATIONS_FILE, MAX_OBSERVATIONS_BYTES)) if file.exists() else {}
    together = {**held, **observations}
    observations_from(together)
    return json.dumps(together, indent=2, sort_keys=True) + "\n"


def _beside(file: Path) -> Path:
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)  # of an interrupted addition; or a link, which would be followed
    return partial
