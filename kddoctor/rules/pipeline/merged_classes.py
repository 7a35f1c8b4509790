"""Classes that the teacher does not tell from another: it was trained where the two are one."""

from dataclasses import dataclass

import numpy as np

from kddoctor.probes.teacher_validity import TeacherValidity
from kddoctor.rules.settings import Count, Share

#: Held-out rows of a class from which its absence among the answers is read.
FEWEST: Count = 10
#: Share of a class's rows that are called by the other's name, at least, and share of answers with its own, at most.
CALLED: Share = 0.8
NEVER: Share = 0.02
#: Accuracy once both names count as one; what that has to add.
RIGHT: Share = 0.8
ADDED: Share = 0.03
#: Wrong labels teach this only where most of a class bears the other's name: then that has three times as many rows.
ALIKE: Share = 0.5


@dataclass(frozen=True)
class Merged:
    """pairs: (class, what its rows are called). accuracy: once both names count as one."""

    pairs: tuple[tuple[int, int], ...]
    accuracy: float


def merged_classes(found: TeacherValidity) -> Merged | None:
    """None where the teacher tells all classes apart, or where merging them does not make it right."""
    table = found.confusion
    if table is None:
        return None
    rows = table.sum(axis=0)
    pairs = []
    for number in np.flatnonzero(rows >= FEWEST):
        other = int(table[:, number].argmax())
        called = table[other, number] >= CALLED * rows[number] and table[other, other] >= CALLED * rows[other]
        never = table[number].sum() <= NEVER * rows[number]
        if other != number and called and never and rows[number] >= ALIKE * rows[other]:
            pairs.append((int(number), other))
    added = sum(int(table[other, number]) for number, other in pairs) / found.n
    accuracy = found.accuracy + added
    return Merged(tuple(pairs), accuracy) if added >= ADDED and accuracy >= RIGHT else None
