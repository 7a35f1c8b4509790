"""Classes that fare much worse than the others do, and those of them that the teacher does not know."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from kddoctor.probes.data_measurements import ClassRecalls
from kddoctor.rules.settings import Count, Share

Flags = NDArray[np.bool_]

#: Held-out rows of a class from which its recall is looked at.
ROWS: Count = 20
#: Points by which a class stays behind more than the others do. Recalls of sound students differ by less; calibrated on
#: the digits.
FURTHER: Share = 0.12
#: Probability that chance alone does this to one of the classes.
CERTAIN: Share = 1e-4
#: Share of the classes up to which they are some and not the rule.
SOME: Share = 0.4
#: Share of the classes up to which a teacher that does not know them is a teacher of this task; convention.
FEW: Share = 0.25
#: Recall of a class most of whose rows are called something else, and of one that is hardly ever answered.
MOST: Share = 0.5
HARDLY: Share = 0.1
#: What other classes may lose, as a share of what these lose: students that learnt too little lose everywhere.
SPARED: Share = 0.15
#: The same beside classes that are hardly ever answered, which no other trouble leaves: of teachers of newsgroups that
#: never saw a fifth of the classes it was 0.2, since they have others wrong as well.
USUAL: Share = 0.25
#: The same of classes that a teacher knows as if there were no others.
UNTOUCHED: Share = 0.03


def enough_rows(recalls: ClassRecalls) -> Flags:
    """Classes with held-out rows enough to look at."""
    return np.asarray(recalls.held_out.rows >= ROWS)


def outlying(lost: NDArray[np.int64], rows: NDArray[np.int64], judged: Flags) -> Flags:
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
        if by_chance > CERTAIN or lost[c] / rows[c] - usual <= FURTHER:
            break
        found[c] = True
    return found


def unknown_to_the_teacher(recalls: ClassRecalls, judged: Flags) -> Flags:
    """Classes, few enough, whose training rows the teacher mostly calls something else, as no others; else none.

    That some class is harder than the others is so in every task.
    """
    train = recalls.train
    none = np.zeros(len(judged), bool)
    if train is None:
        return none
    lost = train.rows - train.teacher
    found = outlying(lost, train.rows, judged)
    found &= train.teacher < MOST * train.rows
    if not found.any() or found.sum() > SOME * judged.sum():
        return none
    of_others, of_these = (share_of(lost, train.rows, part) for part in (~found, found))
    never = of_these > 1 - HARDLY
    return found if of_others < (USUAL if never else SPARED) * of_these else none


def lacks_these_alone(recalls: ClassRecalls, classes: Flags) -> bool:
    """Whether the teacher hardly finds a row of these few classes, and as many of all others as its student does.

    Or finds few, and all others without exception.
    """
    train, held_out = recalls.train, recalls.held_out
    if train is None or not 0 < classes.sum() <= FEW * len(classes):
        return False
    of_others, of_these = (share_of(train.rows - train.teacher, train.rows, part) for part in (~classes, classes))
    if of_these < 1 - HARDLY and of_others > UNTOUCHED * of_these:
        return False
    return bool(held_out.teacher[~classes].sum() >= held_out.student[~classes].sum())


def share_of(counts: NDArray[np.int64], rows: NDArray[np.int64], part: Flags) -> float:
    """Share of the rows of these classes that were counted."""
    return float(counts[part].sum() / max(1, rows[part].sum()))
