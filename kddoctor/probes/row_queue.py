"""Rows of several layers that wait until they fill a minibatch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]


class RowQueue:
    """First in, first out; every entry is a list of arrays [rows, d], one per layer, of equal length."""

    def __init__(self) -> None:
        self._entries: list[list[Features]] = []
        self.rows = 0

    def push(self, layers: Sequence[Features]) -> None:
        """Append rows, without copying them: see :meth:`keep`."""
        if len(layers[0]):
            self._entries.append(list(layers))
            self.rows += len(layers[0])

    def pop(self, rows: int) -> list[Features]:
        """Take the oldest rows out; a view where one entry holds them all."""
        taken: list[list[Features]] = []
        missing = rows
        while missing:
            entry = self._entries[0]
            available = len(entry[0])
            if available <= missing:
                taken.append(self._entries.pop(0))
                missing -= available
            else:
                taken.append([layer[:missing] for layer in entry])
                self._entries[0] = [layer[missing:] for layer in entry]
                missing = 0
        self.rows -= rows
        return _joined(taken)

    def peek(self) -> list[Features]:
        """All waiting rows, left where they are."""
        return _joined(self._entries)

    def keep(self) -> None:
        """Copy what waits, so that the arrays pushed may be overwritten or freed."""
        if self._entries:
            self._entries = [[np.array(layer) for layer in _joined(self._entries)]]


def _joined(entries: list[list[Features]]) -> list[Features]:
    if len(entries) == 1:
        return entries[0]
    return [np.concatenate(layers) for layers in zip(*entries, strict=True)]
