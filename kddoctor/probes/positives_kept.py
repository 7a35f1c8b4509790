"""Whether the labels of the transfer set were rewritten by the teacher's scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Share of the transfer set's positives below the score at which held-out labels are compared.
CUT = 0.01


@dataclass(frozen=True)
class PositivesKept:
    """Yes-or-no labels against the teacher's score, on the transfer set and on held-out rows.

    cut: the score that 1 % of the transfer set's positives stay below. rows_below, held_out_rows_below: rows with less.
    rate_below, held_out_rate_below: share of positives among these. base, held_out_base: share of positives in all.
    expected, held_out_expected: the teacher's mean probability.
    """

    rows: int
    held_out_rows: int
    cut: float
    rows_below: int
    held_out_rows_below: int
    rate_below: float
    held_out_rate_below: float
    base: float
    held_out_base: float
    expected: float
    held_out_expected: float


def positives_kept(
    scores: Array, labels: NDArray[np.bool_], held_out_scores: Array, held_out_labels: NDArray[np.bool_]
) -> PositivesKept | None:
    """Scores [n], [m] as logits, and labels; None where either part lacks positives or negatives."""
    for part in (labels, held_out_labels):
        if part.all() or not part.any():
            return None
    cut = float(np.quantile(scores[labels], CUT))
    below, held_below = scores < cut, held_out_scores < cut
    expected = [float((1 / (1 + np.exp(-np.clip(s, -700, 700)))).mean()) for s in (scores, held_out_scores)]
    return PositivesKept(
        rows=len(labels),
        held_out_rows=len(held_out_labels),
        cut=cut,
        rows_below=int(below.sum()),
        held_out_rows_below=int(held_below.sum()),
        rate_below=float(labels[below].mean()) if below.any() else 0.0,
        held_out_rate_below=float(held_out_labels[held_below].mean()) if held_below.any() else 0.0,
        base=float(labels.mean()),
        held_out_base=float(held_out_labels.mean()),
        expected=expected[0],
        held_out_expected=expected[1],
    )
