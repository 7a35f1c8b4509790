"""Reading a chunk of rows: what is accepted, what is skipped, what is refused.

Shared by every probe that streams over logits, so that all of them count the same rows.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

#: The label that marks a row (or a position) which takes part in nothing, as in torch.nn.CrossEntropyLoss.
IGNORED_LABEL = -100

#: Rows times classes held in float64 at a time (4 MiB per buffer).
BLOCK_ELEMENTS = 524_288


def checked_logits(logits: NDArray[np.floating], num_classes: int, name: str) -> NDArray[np.floating]:
    """The chunk as it came, once its shape [n, num_classes] and its type are known to be right.

    Raises ValueError for another shape and for integers, naming the array.
    """
    array = np.asarray(logits)
    if array.ndim != 2 or array.shape[1] != num_classes:
        raise ValueError(f"{name} is {list(array.shape)}; expected [n, {num_classes}]")
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name} holds {array.dtype}; expected floating-point logits")
    return array


def checked_labels(labels: NDArray[np.integer], rows: int, num_classes: int) -> NDArray[np.int64]:
    """Labels of one chunk, [rows], each in [0, num_classes) or ``IGNORED_LABEL``.

    Raises ValueError for another length, for labels that are not integers, and for labels out of range.
    """
    array = np.asarray(labels)
    if array.shape != (rows,):
        raise ValueError(f"labels is {list(array.shape)}; expected [{rows}], one label per row of logits")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"labels holds {array.dtype}; expected integer class indices")
    outside = ((array < 0) | (array >= num_classes)) & (array != IGNORED_LABEL)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"label {int(array[row])} in row {row} of the chunk lies outside [0, {num_classes}); "
            f"only {IGNORED_LABEL} marks a row to skip"
        )
    return array.astype(np.int64, copy=False)


def checked_class_count(num_classes: int) -> int:
    """The number of classes, at least two; ValueError otherwise."""
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; expected at least 2")
    return num_classes


def require_finite(block: NDArray[np.floating], name: str) -> None:
    """Raise ValueError where a row holds NaN or infinity: every mean over it would be NaN, too."""
    # Minimum and maximum pass NaN on, and need no array of booleans as large as the block.
    bad = ~(np.isfinite(block.max(axis=1)) & np.isfinite(block.min(axis=1)))
    if bad.any():
        raise ValueError(f"{name} holds NaN or infinity in {int(bad.sum())} of {len(block)} rows")


def row_slices(rows: int, classes: int, elements: int = BLOCK_ELEMENTS) -> Iterator[slice]:
    """Slices of at least one row that keep a buffer of rows x classes within ``elements``."""
    size = max(1, elements // classes)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
