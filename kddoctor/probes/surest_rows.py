"""Whether a teacher is as sure as it is right, where it is surest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.proportions import SURE, standard_error

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

#: Part of the rows that is looked at, and fewest rows of it.
PART, FEWEST_ROWS = 0.1, 20


@dataclass(frozen=True)
class SurestRows:
    """The tenth of the rows with the largest probabilities, at T = 1. rows: so many.

    right, confidence: share of them whose top class is the label, and mean largest probability. evenness: median of the
    least probability over the mean one of all classes but the top one: 1 where they are all alike. relative_spread:
    median of the within-row s.d. of the other logits over their mean distance from the top one.

    Whoever minimises a cross-entropy is right as often as sure, on any set of rows chosen by its answers: labels that
    were softened, or wrong at random, keep it from being sure of anything, and so does a training cut short.
    """

    rows: int
    right: float
    confidence: float
    evenness: float
    relative_spread: float

    @property
    def kept_back(self) -> float:
        """By how much it is right more often than it is sure."""
        return self.right - self.confidence

    @property
    def noise(self) -> float:
        """Standard error of the share that is right."""
        return standard_error(self.right, self.rows)

    @property
    def surely_kept_back(self) -> float:
        """What noise does not explain of it."""
        return self.kept_back - SURE * self.noise


class SurestRowsProbe:
    """Accumulates :class:`SurestRows`, four numbers a row; at least three classes."""

    def __init__(self) -> None:
        self._seen: list[NDArray[np.float64]] = []

    def update(self, logits: Floats, labels: Ints) -> None:
        """Count a chunk: logits [n, C], labels [n]; all finite, no ignored rows."""
        z = np.asarray(logits, np.float64)
        top, others = z.argmax(axis=1), z.shape[1] - 1
        z = z - z.max(axis=1, keepdims=True)  # the top one is 0 now, and adds nothing to a sum
        rest = np.exp(z).sum(axis=1) - 1
        evenness = np.exp(z.min(axis=1)) * others / np.maximum(rest, 1e-300)
        distance = -z.sum(axis=1) / others
        variance = np.einsum("ij,ij->i", z, z) / others - distance**2
        spread = np.sqrt(np.maximum(variance, 0)) / np.maximum(distance, 1e-12)
        self._seen.append(np.column_stack([1 / (1 + rest), top == labels, evenness, spread]))

    def compute(self) -> SurestRows | None:
        """None for too few rows."""
        every = np.concatenate(self._seen) if self._seen else np.zeros((0, 4))
        number = int(PART * len(every))
        if number < FEWEST_ROWS:
            return None
        surest = every[np.argsort(-every[:, 0], kind="stable")[:number]]
        return SurestRows(
            rows=number,
            right=float(surest[:, 1].mean()),
            confidence=float(surest[:, 0].mean()),
            evenness=float(np.median(surest[:, 2])),
            relative_spread=float(np.median(surest[:, 3])),
        )
