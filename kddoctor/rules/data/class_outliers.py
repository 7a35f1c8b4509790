"""Classes that fare much worse than the others do, and those of them that the teacher does not know."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from kddoctor.probes.data_measurements import ClassRecalls
from kddoctor.rules.settings import Share

Flags = NDArray[np.bool_]

#: Share of the classes up to which a teacher that does not know them is a teacher of this task; convention.
FEW: Share = 0.25
#: Recall of a class that is hardly ever answered.
HARDLY: Share = 0.1
#: What other classes may lose, as a share of what classes lose that are hardly ever answered, which no other trouble
#: leaves: of teachers of newsgroups that never saw a fifth of the classes it was 0.2, since they have others wrong as
#: well.
USUAL: Share = 0.25


@dataclass(frozen=True)
class Limits:
    """KD604's thresholds, which say what each is; its file holds them for policies to set."""

    rows: int = 20
    further: float = 0.12
    certain: float = 1e-4
    some: float = 0.4
    most: float = 0.5
    spared: float = 0.15


PLAIN = Limits()


def enough_rows(recalls: ClassRecalls, limits: Limits = PLAIN) -> Flags:
    """Classes with held-out rows enough to look at."""
    return np.asarray(recalls.held_out.rows >= limits.rows)


def outlying(lost: NDArray[np.int64], rows: NDArray[np.int64], judged: Flags, limits: Limits = PLAIN) -> Flags:
    """Classes with more of their rows lost than the other classes' share explains (binomial, Bonferroni)."""
    found = np.zeros(len(lost), bool)
    order = np.argsort(-lost / np.maximum(rows, 1))
    for c in order:  # the worst first; those already found do not set the standard for the rest
        if not judged[c] or not rows[c]:
            continue
        others = judged & ~found
        others[c] = False
        usual = (lost[others].sum() + 1) / (rows[others].sum() + 2)
        by_chance = binom.sf(lost[c] - 1, rows[c], usual) * judged.sum()
        if by_chance > limits.certain or lost[c] / rows[c] - usual <= limits.further:
            break
        found[c] = True
    return found


def unknown_to_the_teacher(recalls: ClassRecalls, limits: Limits = PLAIN, *, judged: Flags | None = None) -> Flags:
    """Classes, few enough, whose training rows the teacher mostly calls something else, as no others; else none.

    Held-out rows stand in where no training rows were recorded. That some class is harder than the others is so in
    every task. judged: those that are looked at, of enough rows where it is left out.
    """
    train = recalls.train or recalls.held_out
    judged = enough_rows(recalls, limits) if judged is None else judged
    none = np.zeros(len(judged), bool)
    lost = train.rows - train.teacher
    found = outlying(lost, train.rows, judged, limits)
    found &= train.teacher < limits.most * train.rows
    if not found.any() or found.sum() > limits.some * judged.sum():
        return none
    of_others, of_these = (share_of(lost, train.rows, part) for part in (~found, found))
    never = of_these > 1 - HARDLY
    return found if of_others < (USUAL if never else limits.spared) * of_these else none


def lacks_these_alone(recalls: ClassRecalls, classes: Flags) -> bool:
    """Whether the teacher hardly finds a row of these few classes, and as many of all others as its student does."""
    held_out = recalls.held_out
    train = recalls.train or held_out
    if not 0 < classes.sum() <= FEW * len(classes):
        return False
    if share_of(train.teacher, train.rows, classes) > HARDLY:
        return False
    return bool(held_out.teacher[~classes].sum() >= held_out.student[~classes].sum())


def share_of(counts: NDArray[np.int64], rows: NDArray[np.int64], part: Flags) -> float:
    """Share of the rows of these classes that were counted."""
    return float(counts[part].sum() / max(1, rows[part].sum()))
