"""The rows that soft targets are shown for: those that the student was taught on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import class_rows, evenly
from kddoctor.run.arrays import LazyArray
from kddoctor.run.directory import Run
from kddoctor.run.predictions import Predictions


@dataclass(frozen=True)
class TargetRows:
    """A sample of the teacher's targets: logits [n, C]. of: class rows in all. source: for people."""

    logits: NDArray[np.floating]
    of: int
    source: str


def target_source(run: Run) -> tuple[Predictions, LazyArray] | None:
    """The targets that the loss used where recorded, else the teacher's logits; of training rows where there are."""
    for split in ("train", held_out_split(run)):
        part = run.predictions(split)
        # An array of no rows is false, and is no source either.
        array = None if part is None else part.teacher_targets or part.teacher_logits
        if part is not None and array is not None:
            return part, array
    return None


def sampled_targets(run: Run, most: int) -> TargetRows | None:
    """At most ``most`` rows, evenly spread over the file; rows that are not finite are left out."""
    source = target_source(run)
    if source is None:
        return None
    part, array = source
    per_row = max(1, part.labels.size // part.n)
    blocks = []
    for number in map(int, evenly(part.n, max(1, most // per_row))):
        one = slice(number, number + 1)
        rows, _ = class_rows(run.manifest, array[one], part.labels[one])
        blocks.append(rows[np.isfinite(rows).all(axis=1)])
    logits = np.concatenate(blocks)[:most]
    return TargetRows(logits, part.n * per_row, f"{part.file}: {array.name}") if len(logits) else None
