"""One task after another as rows of class logits, so that the same probes serve them all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.run.arrays import LazyArray, first_nonfinite
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.run.manifest import Manifest
from kddoctor.run.predictions import Predictions
from kddoctor.run.steps import Steps

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

#: Rows read from disk at a time.
CHUNK = 4096
#: Elements held at a time: a step or row of a large vocabulary is read in smaller pieces.
CHUNK_ELEMENTS = 8_388_608

#: Elements of a sample of rows that is held whole; longer rows are read in fewer numbers.
MAX_ELEMENTS = 16_000_000

#: Logit of a class that has no probability at any usual temperature.
IMPOSSIBLE = -1e4
#: Logged losses below which a curve shows nothing.
FEWEST_LOGGED = 10
#: Share of the log's way up to which steps have to be recorded, for the last of them to stand for the end.
NEARLY_ALL = 0.9


def curve_rows(run: Run) -> Sequence[Mapping[str, object]]:
    """Rows of metrics.jsonl; where hardly any loss was logged, what the recorded steps say of it stands in."""
    steps = run.steps
    logged = [row for row in run.metrics if "loss" in row and row.get("split") == "train"]
    if steps is None or len(logged) >= min(FEWEST_LOGGED, steps.count):
        return run.metrics
    # Steps kept for their jump are not what the way was like where they stand.
    kept = range(steps.count) if steps.jumped is None else np.flatnonzero(steps.jumped != 1).tolist()
    terms = {"loss": steps.loss, "kd_loss": steps.kd_loss}
    columns = {name: values for name, values in terms.items() if values is not None}
    told = [{"step": int(steps.step[k]), **{name: float(values[k]) for name, values in columns.items()}} for k in kept]
    _add_epochs(told, run.metrics)
    return [*(row for row in run.metrics if row not in logged), *told]


def _add_epochs(told: list[dict[str, float]], metrics: Sequence[Mapping[str, object]]) -> None:
    """Give each step the epoch of the next row that was logged, where steps were recorded up to the end of the log."""
    marks = sorted(
        (step, epoch)
        for row in metrics
        if isinstance(step := row.get("step"), int | float) and isinstance(epoch := row.get("epoch"), int | float)
        if np.isfinite([step, epoch]).all()
    )
    if not marks or not told or told[-1]["step"] < NEARLY_ALL * marks[-1][0]:
        return
    at = np.array([step for step, _ in marks])
    for row in told:
        row["epoch"] = float(marks[min(int(np.searchsorted(at, row["step"])), len(marks) - 1)][1])


def first_rows(array: LazyArray, most: int) -> NDArray[np.generic]:
    """The first rows, this many at most and as many as fit."""
    width = max(1, array.size // max(1, len(array)))
    return array[: max(1, min(len(array), most, MAX_ELEMENTS // width))]


def binary_like(manifest: Manifest) -> bool:
    """Whether every logit stands for a yes or no of its own (sigmoid), not for one class among several."""
    return manifest.task in ("binary", "ranking", "multilabel")


def classes(manifest: Manifest) -> int:
    """Number of columns that ``class_rows`` gives."""
    return 2 if binary_like(manifest) or manifest.num_classes is None else manifest.num_classes


def class_rows(manifest: Manifest, logits: Floats, labels: NDArray[Any]) -> tuple[Floats, Ints]:
    """Logits and labels of a chunk as [rows, classes] and [rows].

    binary, ranking: one logit becomes two, [0, z]. multilabel: each label of a row is a row of its own. tokens:
    positions become rows. What has no label, -100, is left out.
    """
    flat_labels = np.rint(np.asarray(labels).reshape(-1)).astype(np.int64)
    if binary_like(manifest):
        flat = logits.reshape(-1)
        rows = np.stack([np.zeros_like(flat), flat], axis=1)
    else:
        rows = logits.reshape(-1, logits.shape[-1])
    keep = flat_labels != IGNORED
    return (rows, flat_labels) if keep.all() else (rows[keep], flat_labels[keep])


def shown_rows(manifest: Manifest, steps: Steps, most: int) -> tuple[Floats, Ints]:
    """What the teacher said in recorded steps, as ``class_rows`` has it: so many finite rows at most, evenly.

    Minus infinity, with which loops fill up what they leave out, is a very small number.
    """
    width = classes(manifest)
    rows, truth = [np.zeros((0, width), np.float32)], [np.zeros(0, np.int64)]
    each = max(1, steps.teacher_logits.size // max(1, steps.count * width))
    most = max(1, min(most, MAX_ELEMENTS // width))
    for k in map(int, evenly(steps.count, max(1, most // each))):
        logits, labels = class_rows(manifest, steps.teacher_logits[k], steps.labels[k])
        logits = np.where(np.isneginf(logits), IMPOSSIBLE, logits)
        whole = np.isfinite(logits).all(axis=1)
        rows.append(logits[whole])
        truth.append(labels[whole])
    return np.concatenate(rows)[:most], np.concatenate(truth)[:most]


def finite_rows(*arrays: LazyArray | None) -> Iterator[tuple[Any, ...]]:
    """The same rows of several arrays of one file, chunk by chunk, without rows that are not finite throughout.

    None stays None.
    """
    for _, chunk in numbered_rows(*arrays):
        yield chunk


def numbered_rows(*arrays: LazyArray | None) -> Iterator[tuple[Ints, tuple[Any, ...]]]:
    """As ``finite_rows``, each chunk with the numbers [n] of its rows in the file."""
    present = [a for a in arrays if a is not None]
    width = max(1, *(a.size // max(1, len(a)) for a in present))
    size = max(1, min(CHUNK, CHUNK_ELEMENTS // width))
    for start in range(0, len(present[0]), size):
        chunk = [None if a is None else a[start : start + size] for a in arrays]
        good = np.ones(len(next(c for c in chunk if c is not None)), bool)
        for values in chunk:
            if values is not None and values.dtype.kind == "f":
                good &= np.isfinite(values).reshape(len(values), -1).all(axis=1)
        yield start + np.flatnonzero(good), tuple(c if c is None or good.all() else c[good] for c in chunk)


def finite_baseline(part: Predictions) -> LazyArray | None:
    """The labels-only twin's logits, None where there are none or some are not finite."""
    array = part.baseline_logits
    return None if array is None or first_nonfinite(array)[0] else array


def evenly(count: int, most: int) -> Ints:
    """At most ``most`` indices below ``count``, evenly spread, first and last included."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))
