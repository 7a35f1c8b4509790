"""TensorBoard event files, as Lightning, Keras, transformers, tensorboardX and torch write them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kddoctor.errors import RunError
from kddoctor.importers.extras import needs
from kddoctor.importers.files import below
from kddoctor.importers.found import Found, Given
from kddoctor.importers.lightning import hyperparameters
from kddoctor.importers.metric_names import SPLITS, accuracy_as_share, counted, meanings, rows_of, summary
from kddoctor.run.metrics import Row
from kddoctor.run.paths import file_inside

EVENTS = "*tfevents*"
#: One event holds a handful of scalars, or an image that is not looked at.
MOST_EVENT = 1 << 30


def recognises(path: Path) -> bool:
    """An event file, or a directory with any."""
    if path.is_file():
        return "tfevents" in path.name
    return path.is_dir() and bool(below(path, EVENTS))


def read(path: Path, given: Given) -> Found:
    """Scalars of all event files of one run, and hparams.yaml where Lightning left one beside them."""
    root = path.parent if path.is_file() else path
    names = (path.name,) if path.is_file() else below(root, EVENTS)
    run, files, left = (Path(), names, ()) if path.is_file() else _last_run(root, names)
    rows, note = accuracy_as_share(tuple(row for name in files for row in scalars(root, name, _split(name))))
    settings, said = hyperparameters(root / run)
    return Found(
        kind="TensorBoard",
        folder=root / run,
        settings=settings,
        metrics=rows,
        said=(f"{counted(len(files), 'event file')}: {summary(rows)}", *([note] if note else []), *said),
        left=left,
    )


def _last_run(root: Path, names: tuple[str, ...]) -> tuple[Path, tuple[str, ...], tuple[str, ...]]:
    """The folder of one run, its files, and a line where there are other runs.

    Folders that are named after a split (train and validation, as Keras writes them) belong to one run.
    """

    def run(name: str) -> Path:
        folder = Path(name).parent
        return folder.parent if folder.name.lower() in SPLITS else folder

    runs = {run(name) for name in names}
    last = max(runs, key=lambda folder: (Path() == folder, _numbers(folder), str(folder)))
    files = tuple(name for name in names if run(name) == last)
    if len(runs) == 1:
        return last, files, ()
    others = counted(len(runs) - 1, "other run")
    return last, files, (f"{others} in {root.name}; {last} is taken (give the directory of another)",)


def _numbers(folder: Path) -> int:
    digits = folder.name.rpartition("_")[2]
    return int(digits) if digits.isdecimal() and len(digits) < 10 else -1


def _split(name: str) -> str | None:
    return SPLITS.get(Path(name).parent.name.lower())


def scalars(root: Path, name: str, split: str | None) -> list[Row]:
    """The scalars of one event file, a row for each step and split. Raises RunError where the file is not whole."""
    path = file_inside(root, name)
    assert path is not None
    loader = needs("tensorboard.backend.event_processing.event_file_loader", "TensorBoard event files")
    _refuse_claims(path, name)
    logged: dict[int, dict[str, float]] = {}
    try:
        for event in loader.EventFileLoader(str(path)).Load():
            for tag, value in _scalars_of(event):
                logged.setdefault(int(event.step), {})[tag] = value
    except Exception as error:  # broken records raise protobuf's and tensorboard's own errors
        raise RunError.plain(f"{name}: is not a whole event file: {error}.") from None
    names = meanings({tag for values in logged.values() for tag in values}, split)
    return [row for step in sorted(logged) for row in rows_of(logged[step], names, step=step)]


def _scalars_of(event: Any) -> Iterator[tuple[str, float]]:
    for value in event.summary.value:
        # tensorboard brings scalars of all ages into this form; images and histograms have axes.
        if value.WhichOneof("value") == "tensor" and not value.tensor.tensor_shape.dim:
            found = _number_in(value.tensor)
            if found is not None and not value.tag.startswith("_hparams_"):
                yield value.tag, found


def _number_in(tensor: Any) -> float | None:
    """The one number of a tensor without axes. Not by make_ndarray, which allocates whatever a shape claims."""
    for values in (tensor.float_val, tensor.double_val, tensor.int_val, tensor.int64_val):
        if len(values) == 1:
            return float(values[0])
    for size, code in ((4, "<f"), (8, "<d")):
        if len(tensor.tensor_content) == size:
            return float(struct.unpack(code, tensor.tensor_content)[0])
    return None


def _refuse_claims(path: Path, name: str) -> None:
    """Records say their own length, and are read whole: none may be longer than the file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        at = 0
        while len(head := stream.read(8)) == 8:
            (length,) = struct.unpack("<Q", head)
            if length > MOST_EVENT:
                raise RunError.plain(f"{name}: byte {at} claims an event of {length:,} bytes; the file has {size:,}.")
            at += 16 + length
            stream.seek(at)
