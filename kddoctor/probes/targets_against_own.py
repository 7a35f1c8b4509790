"""What the targets say of the label, beside the teacher's own answer to the same input."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
#: Logits that differ by less than this are the same answer in another precision.
SAME = 1e-3


@dataclass(frozen=True)
class TargetsAgainstOwn:
    """The logits that the loss used against a repeated pass of the teacher, row by row; nats, at T = 1.

    rows: compared. label_loss, own_label_loss: mean cross-entropy with the label of both. changed: share of rows
    that differ. gained_right, gained_wrong: of those, among rows on which the teacher's own top class is the label and
    on which it is not, the share in which the targets give the label more than the teacher does. Noise makes that a
    half of both, sharpening most of the first and few of the second, flattening the reverse; nan without such rows.
    wrong: how many rows the second has. only_at_label: of the changed rows, the share in which the two differ, up to a
    constant, by the label's logit alone; nan for two classes, where any difference does. entropy, own_entropy: mean.
    answer_loss: mean −log of what the teacher gives the targets' top class; where that class was drawn from the
    teacher's distribution, its expectation is the teacher's entropy. agreement: share of equal top classes;
    drawn_agreement: what drawing gives.
    """

    rows: int
    label_loss: float
    own_label_loss: float
    changed: float
    gained_right: float
    gained_wrong: float
    wrong: int
    only_at_label: float
    entropy: float
    own_entropy: float
    answer_loss: float
    agreement: float
    drawn_agreement: float


class TargetsAgainstOwnProbe:
    """Accumulates :class:`TargetsAgainstOwn`."""

    def __init__(self) -> None:
        self.sums = np.zeros(12)
        self.rows = 0
        self.classes = 0

    def update(self, targets: Floats, own: Floats, labels: NDArray[np.integer]) -> None:
        """Add rows: both logits [n, C], labels [n]."""
        if not len(labels):
            return
        t, o = _log_softmax(targets), _log_softmax(own)
        rows = np.arange(len(labels))
        moved = t - o
        changed = np.abs(moved).max(axis=1) > SAME
        rest = moved - moved[rows, labels][:, None]
        # Without the label, what is left of a difference at the label alone is one constant.
        others = np.where(np.arange(t.shape[1]) == labels[:, None], np.nan, moved)
        with np.errstate(all="ignore"):
            spread = np.nanmax(others, axis=1) - np.nanmin(others, axis=1)
        only = changed & (spread <= SAME * np.maximum(1.0, np.abs(rest).max(axis=1)))
        p, q = np.exp(t), np.exp(o)
        answer = t.argmax(axis=1)
        gained = t[rows, labels] > o[rows, labels]
        right = changed & (o.argmax(axis=1) == labels)
        wrong = changed & ~right
        self.sums += np.array(
            [
                -t[rows, labels].sum(),
                -o[rows, labels].sum(),
                right.sum(),
                wrong.sum(),
                (gained & right).sum(),
                (gained & wrong).sum(),
                only.sum(),
                -(p * np.where(p > 0, t, 0)).sum(),
                -(q * np.where(q > 0, o, 0)).sum(),
                -o[rows, answer].sum(),
                (answer == o.argmax(axis=1)).sum(),
                (q**2).sum(),
            ],
            np.float64,
        )
        self.rows += len(labels)
        self.classes = t.shape[1]

    def merge(self, other: "TargetsAgainstOwnProbe") -> None:
        """Add another worker's rows."""
        self.sums += other.sums
        self.rows += other.rows
        self.classes = max(self.classes, other.classes)

    def compute(self) -> TargetsAgainstOwn:
        """Means over all rows; ValueError where there were none."""
        if not self.rows:
            raise ValueError("no row was compared; call update() with at least one")
        s, n = self.sums, self.rows
        changed = s[2] + s[3]
        return TargetsAgainstOwn(
            rows=n,
            label_loss=float(s[0] / n),
            own_label_loss=float(s[1] / n),
            changed=float(changed / n),
            gained_right=float(s[4] / s[2]) if s[2] else float("nan"),
            gained_wrong=float(s[5] / s[3]) if s[3] else float("nan"),
            wrong=int(s[3]),
            only_at_label=float(s[6] / changed) if self.classes > 2 and changed else float("nan"),
            entropy=float(s[7] / n),
            own_entropy=float(s[8] / n),
            answer_loss=float(s[9] / n),
            agreement=float(s[10] / n),
            drawn_agreement=float(s[11] / n),
        )


def _log_softmax(logits: Floats) -> NDArray[np.float64]:
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))
