"""One model's outputs on a block of rows, and the divergences between two models' outputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.chunks import require_finite

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RowOutputs:
    """What is read from a block of logits [n, C], in float64.

    predicted: [n] class. confidence: [n] largest probability at T = 1. loss: [n] cross-entropy with the
    label at T = 1, in nats. spread: [n] s.d. of the row's logits. log_p, p: [n, C], softmax at temperature T.
    """

    predicted: NDArray[np.int64]
    confidence: Array
    loss: Array
    spread: Array
    log_p: Array
    p: Array


def read_outputs(logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float, name: str) -> RowOutputs:
    """Outputs of a block: logits [n, C], labels [n] in [0, C). ValueError for NaN or infinite logits."""
    z = logits.astype(np.float64)
    require_finite(z, name)
    rows = np.arange(len(z))
    predicted = z.argmax(axis=1)
    spread = z.std(axis=1)
    z -= z[rows, predicted][:, None]
    partition = np.exp(z).sum(axis=1)
    loss = np.log(partition) - z[rows, labels]
    z /= temperature
    weight = np.exp(z)
    total = weight.sum(axis=1, keepdims=True)
    z -= np.log(total)
    weight /= total
    return RowOutputs(predicted, 1.0 / partition, loss, spread, log_p=z, p=weight)


def kl_divergence(first: RowOutputs, second: RowOutputs) -> Array:
    """KL(first ‖ second) of each row in nats, [n]; not multiplied by T²."""
    difference = first.log_p - second.log_p
    # Rounding can leave equal rows a hair below zero.
    return np.asarray(np.maximum(np.einsum("ij,ij->i", first.p, difference), 0.0))


def js_divergence(first: RowOutputs, second: RowOutputs) -> Array:
    """Jensen-Shannon divergence of each row in nats, [n], at most ln 2 (Lin 1991, section 4)."""
    middle = 0.5 * (first.p + second.p)
    # Where both probabilities underflow to zero, so does the term: any finite logarithm will do.
    log_middle = np.log(np.maximum(middle, np.finfo(np.float64).tiny))
    toward_first = np.einsum("ij,ij->i", first.p, first.log_p - log_middle)
    toward_second = np.einsum("ij,ij->i", second.p, second.log_p - log_middle)
    return np.asarray(np.clip(0.5 * (toward_first + toward_second), 0.0, np.log(2.0)))
