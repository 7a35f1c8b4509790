"""Keeping a record within the disk space that it may take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from kddoctor.run.arrays import Array

#: Bytes.
MEGABYTE = 1_000_000
#: Below these, a part is of no use any more: rows of activations, steps, rows of predictions.
FEWEST_FEATURES, FEWEST_STEPS, FEWEST_ROWS = 64, 8, 256

Splits = dict[str, dict[str, Array]]


@dataclass
class Parts:
    """The arrays of a record, by split where there are several."""

    predictions: Splits = field(default_factory=dict)
    steps: dict[str, Array] = field(default_factory=dict)
    features: Splits = field(default_factory=dict)
    inputs: Splits = field(default_factory=dict)
    fingerprints: dict[str, Array] = field(default_factory=dict)
    snapshots: Splits = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        by_split = (self.predictions, self.features, self.inputs, self.snapshots)
        splits = [arrays for part in by_split for arrays in part.values()]
        return sum(a.nbytes for arrays in (*splits, self.steps, self.fingerprints) for a in arrays.values())


def fit(parts: Parts, max_bytes: int) -> list[str]:
    """Drop what is needed least until the parts fit, and say what was dropped.

    In this order: raw inputs; snapshots; activations, whose rows are halved and which then go altogether; every other
    step, down to eight; half of the rows of the largest predictions, down to 256.
    """
    dropped: list[str] = []
    for what in _shrinking(parts, max_bytes):
        if what not in dropped:
            dropped.append(what)
    return dropped


def _shrinking(parts: Parts, max_bytes: int) -> Iterator[str]:
    def too_large() -> bool:
        return parts.bytes > max_bytes

    if too_large() and parts.inputs:
        parts.inputs = {}
        yield "inputs"
    if too_large() and parts.snapshots:
        parts.snapshots = {}
        yield "snapshots"
    while too_large() and parts.features:
        rows = max(_rows(arrays) for arrays in parts.features.values()) // 2
        few = rows < FEWEST_FEATURES
        parts.features = {} if few else {split: _first(arrays, rows) for split, arrays in parts.features.items()}
        yield "features" if few else "rows of features"
    while too_large() and _rows(parts.steps) >= 2 * FEWEST_STEPS:
        parts.steps = {name: array[::2] for name, array in parts.steps.items()}
        yield "steps"
    while too_large() and parts.predictions:
        split = max(parts.predictions, key=lambda name: sum(a.nbytes for a in parts.predictions[name].values()))
        rows = _rows(parts.predictions[split]) // 2
        if rows < FEWEST_ROWS:
            break
        parts.predictions[split] = _first(parts.predictions[split], rows)
        yield f"rows of predictions/{split}"


def _rows(arrays: dict[str, Array]) -> int:
    return min((len(array) for array in arrays.values()), default=0)


def _first(arrays: dict[str, Array], rows: int) -> dict[str, Array]:
    return {name: np.ascontiguousarray(array[:rows]) for name, array in arrays.items()}
