"""Data as ``fit`` takes it, in order, batch by batch, as numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kddoctor.errors import UsageError
from kddoctor.integrations.keras_replay import as_numpy
from kddoctor.run.arrays import Array

Batch = tuple[Any, Array]


def check_data(data: Any, name: str) -> None:
    """Raises UsageError where data can be read once only, or not at all."""
    if isinstance(data, tuple | keras.utils.PyDataset) or (hasattr(data, "__iter__") and not hasattr(data, "__next__")):
        return
    raise UsageError(
        f"{name} is a {type(data).__name__}; expected arrays (x, y), a PyDataset, a tf.data.Dataset or a DataLoader, "
        "which can be read more than once."
    )


def batches(data: Any, batch_size: int) -> Iterator[tuple[Any, ...]]:
    """(x, y) or (x, y, sample_weight) of each batch, every part an array or a structure of arrays."""
    if isinstance(data, tuple):
        rows = len(keras.tree.flatten(data)[0])
        for start in range(0, rows, batch_size):
            yield _part(data, slice(start, start + batch_size))
    elif isinstance(data, keras.utils.PyDataset):
        for index in range(len(data)):
            yield _arrays(data[index])
    else:
        for batch in data:
            yield _arrays(batch)


def first_input(x: Any) -> Array:
    """The first array of a batch's inputs, [B, …]."""
    return as_numpy(keras.tree.flatten(x)[0])


def labels_of(y: Any, logits: Array, task: str) -> Array:
    """Labels as the contract has them: one-hot rows become classes, and [B, 1] becomes [B]."""
    labels = first_input(y)
    if task == "multilabel":
        return labels
    if task in ("multiclass", "tokens"):
        if labels.shape == logits.shape:
            labels = labels.argmax(-1)
        return labels.reshape(logits.shape[:-1]).astype(np.int64)
    return labels.reshape(len(logits)).astype(np.int64 if task == "binary" else labels.dtype)


def logits_of(answers: Array, task: str) -> Array:
    """[B] for tasks of one logit, as the contract has them; otherwise as the model gave them."""
    return answers.reshape(len(answers)) if task in ("binary", "ranking") else answers


def _part(data: tuple[Any, ...], rows: slice) -> tuple[Any, ...]:
    return tuple(keras.tree.map_structure(lambda array: np.asarray(array)[rows], part) for part in data)


def _arrays(batch: Any) -> tuple[Any, ...]:
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise UsageError(f"the data gives a {type(batch).__name__}; expected batches (x, y).")
    return tuple(keras.tree.map_structure(as_numpy, part) for part in batch)
