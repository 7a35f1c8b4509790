"""Rows of a run as every measurement reads them."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.reading import class_rows, finite_rows
from kddoctor.run.arrays import LazyArray
from kddoctor.run.directory import Run
from kddoctor.run.manifest import Manifest
from kddoctor.run.predictions import Predictions
from kddoctor.run.steps import Steps

#: Measurements by type.
Measured = dict[type, object]
#: (logits [n, C], labels [n]).
Chunk = tuple[NDArray[np.floating], NDArray[np.int64]]


def held_out_split(run: Run) -> str:
    """The split on which the outcome is judged: val, else test, else what there is; val where there is nothing."""
    return next((split for split in ("val", "test", "train") if split in run.splits), "val")


def pairs(manifest: Manifest, part: Predictions, array: LazyArray) -> Iterator[Chunk]:
    """(logits, labels) of a predictions file as class rows."""
    for logits, labels in finite_rows(array, part.labels):
        yield class_rows(manifest, logits, labels)


def both_passes(
    manifest: Manifest, steps: Steps, numbers: Iterable[int]
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.int64]]]:
    """(targets [n, C] that the loss used, the teacher's own answer to the same inputs, labels [n]), step by step.

    Steps without finite values are left out; none where no second pass was recorded.
    """
    if steps.teacher_logits_check is None:
        return
    for k in numbers:
        used, own = steps.teacher_logits[k], steps.teacher_logits_check[k]
        if np.isfinite(used).all() and np.isfinite(own).all():
            targets, labels = class_rows(manifest, used, steps.labels[k])
            yield targets, class_rows(manifest, own, steps.labels[k])[0], labels
