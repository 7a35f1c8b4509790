"""Entropy and largest probability of softmax(z / T) at many temperatures, at the speed of the exponential.

With z' = z − max z and e = exp(z' / T):  Z = Σ e,  H = log Z − Σ e·z' / (T·Z),  largest probability = 1 / Z.
So no probability and no logarithm of one is ever stored. Two savings on top: blocks small enough to stay in
a core's own cache, and e(T/2) = e(T)² wherever the grid holds a temperature and its half.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: float32 numbers of one buffer: 512 KiB, of which two are live at a time.
BLOCK_ELEMENTS = 131_072

#: Longest sum taken in float32; longer rows are summed in pieces of at most this, and the pieces in float64.
PIECE = 4096

#: A square doubles the relative rounding error of its root, so that after four a fresh exponential is taken.
MAX_SQUARES = 4

# exp2 of less than this is near the smallest normal float32; numbers below that slow processors down a
# hundredfold. Half of it is where a square would reach them. What is cut off is below 1e-35 of the largest.
_FLOOR_LOG2 = -120.0
_FLOOR_ROOT = np.float32(2.0 ** (_FLOOR_LOG2 / 2))


class EntropySweep:
    """The working buffers of one sweep; reused from block to block.

    temperatures: [K], positive. num_classes: C.
    """

    def __init__(self, temperatures: Sequence[float], num_classes: int) -> None:
        self.num_classes = num_classes
        self._temperatures = np.asarray(temperatures, dtype=np.float64)
        self._steps = _plan(self._temperatures)
        pieces = -(-num_classes // PIECE)
        width = -(-num_classes // pieces)
        self.rows = max(1, BLOCK_ELEMENTS // (pieces * width))
        # Columns past the last class stay so low that they weigh nothing at any temperature.
        padding = -128.0 * float(self._temperatures.max())
        self._shifted = np.full((self.rows, pieces, width), padding, dtype=np.float32)
        self._weight = np.empty_like(self._shifted)
        self._ones = np.ones(width, dtype=np.float32)

    def load(self, block: NDArray[np.floating], top: NDArray[np.int64]) -> NDArray[np.float32]:
        """Take in at most ``rows`` rows [n, C] with their largest entries; returns z' = z − max, [n, C].

        The result is a view that the next call overwrites.
        """
        flat = self._shifted.reshape(self.rows, -1)[: len(block), : self.num_classes]
        if block.dtype == np.float16:
            block = block.astype(np.float32)
        np.subtract(block, np.take_along_axis(block, top[:, None], axis=1), out=flat, casting="same_kind")
        return flat

    def measure(self, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(entropy in nats, largest probability) of the first ``rows`` loaded rows, each [K, rows]."""
        entropy = np.empty((len(self._temperatures), rows))
        top1 = np.empty_like(entropy)
        shifted = self._shifted[:rows]
        weight = self._weight[:rows]
        lowest = float(shifted.reshape(rows, -1)[:, : self.num_classes].min())
        for index, squared in self._steps:
            temperature = float(self._temperatures[index])
            scale = 1.0 / (temperature * math.log(2.0))
            underflows = lowest * scale < _FLOOR_LOG2
            if squared:
                if underflows:
                    np.maximum(weight, _FLOOR_ROOT, out=weight)
                np.multiply(weight, weight, out=weight)
            else:
                np.multiply(shifted, np.float32(scale), out=weight)
                if underflows:
                    np.maximum(weight, np.float32(_FLOOR_LOG2), out=weight)
                np.exp2(weight, out=weight)
            partition, moment = self._sums(weight, shifted)
            entropy[index] = np.log(partition) - moment / (temperature * partition)
            top1[index] = 1.0 / partition
        # Rounding can leave a one-hot row a hair below zero, and a sum of weights a hair below its largest.
        return np.maximum(entropy, 0.0, out=entropy), np.minimum(top1, 1.0, out=top1)

    def _sums(
        self, weight: NDArray[np.float32], shifted: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(Σ weight, Σ weight·shifted) of each row: pieces in float32 by BLAS, then float64."""
        rows, pieces, width = weight.shape
        flat = weight.reshape(rows * pieces, width)
        partition = (flat @ self._ones).reshape(rows, pieces)
        moment = np.matmul(flat[:, None, :], shifted.reshape(rows * pieces, width, 1)).reshape(rows, pieces)
        return partition.sum(axis=1, dtype=np.float64), moment.sum(axis=1, dtype=np.float64)


def _plan(temperatures: NDArray[np.float64]) -> list[tuple[int, bool]]:
    """The order of evaluation: (index of a temperature, whether it is the square of the one before)."""
    left = list(np.argsort(-temperatures, kind="stable"))
    steps: list[tuple[int, bool]] = []
    while left:
        index = int(left.pop(0))
        steps.append((index, False))
        for _ in range(MAX_SQUARES):
            half = [i for i in left if math.isclose(temperatures[i], temperatures[index] / 2, rel_tol=1e-9)]
            if not half:
                break
            index = int(half[0])
            left.remove(index)
            steps.append((index, True))
    return steps
