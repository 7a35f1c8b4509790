"""The end of a vocabulary: logits that no token stands behind."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VocabularyTail:
    """tokens: how many of the last logits of the model stand for no token, and why that is known: they are 0 in every
    row, or lie beyond the tokenizer_size that the manifest names. mass: mean probability that the teacher's softmax at
    the run's temperature gives them.
    """

    tokens: int
    model: str
    why: str
    mass: float


def zeros_at_the_end(logits: NDArray[np.floating]) -> int:
    """How many of the last columns of [n, V] are exactly 0 in every row."""
    used = np.flatnonzero((logits != 0).any(axis=0))
    return int(logits.shape[1]) - (int(used[-1]) + 1 if len(used) else 0)


def mass_at_the_end(logits: NDArray[np.floating], temperature: float, tokens: int) -> float:
    """Mean probability of the last columns of [n, V]."""
    z = np.asarray(logits, np.float64) / temperature
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return float((p[:, z.shape[1] - tokens :].sum(axis=1) / p.sum(axis=1)).mean())
