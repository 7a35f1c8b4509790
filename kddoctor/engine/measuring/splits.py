"""Rows of a run as every measurement reads them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.reading import class_rows, finite_rows
from kddoctor.run.arrays import LazyArray
from kddoctor.run.directory import Run
from kddoctor.run.manifest import Manifest
from kddoctor.run.predictions import Predictions

#: Measurements by type.
Measured = dict[type, object]
#: (logits [n, C], labels [n]).
Chunk = tuple[NDArray[np.floating], NDArray[np.int64]]


def held_out_split(run: Run) -> str:
    """The split on which the outcome is judged: val, else test, else what there is."""
    return next((split for split in ("val", "test") if split in run.splits), run.splits[0])


def pairs(manifest: Manifest, part: Predictions, array: LazyArray) -> Iterator[Chunk]:
    """(logits, labels) of a predictions file as class rows."""
    for logits, labels in finite_rows(array, part.labels):
        yield class_rows(manifest, logits, labels)
